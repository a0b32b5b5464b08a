"""The Neural GPU against its equations, and on a task that needs all places."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.signal import correlate

from jaxlearn.core import make_state, make_step
from jaxlearn.data.binary_arithmetic import OUTPUTS, SYMBOLS, arithmetic
from jaxlearn.models.neural_gpu import conv_gru, neural_gpu
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop

KEY = jax.random.key(0)


def same(s, kernel):
    """A zero-padded convolution of one state, in double precision."""
    planes = [
        correlate(s, kernel[..., o], mode="full")[1:-1, 1:-1] for o in range(kernel.shape[-1])
    ]
    middle = s.shape[-1] - 1
    return np.stack([plane[..., middle] for plane in planes], -1)


def test_a_unit_is_its_three_equations():
    model = neural_gpu(4, 3, channels=2, width=3)
    params, _ = model.init(KEY, jnp.zeros((1, 5), jnp.int32))
    unit, s = params["units"][0], jax.random.normal(KEY, (1, 3, 5, 2))
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), unit)
    state = np.asarray(s[0], np.float64)
    gates = 1 / (1 + np.exp(-same(state, exact["gates"]["kernel"]) - exact["gates"]["bias"]))
    u, r = gates[..., :2], gates[..., 2:]
    candidate = np.tanh(same(r * state, exact["candidate"]["kernel"]))
    np.testing.assert_allclose(conv_gru(unit, s)[0], u * state + (1 - u) * candidate, atol=1e-5)


def test_shares_weights_over_lengths_and_sees_only_as_far_as_it_runs():
    model = neural_gpu(SYMBOLS, OUTPUTS, channels=4, layers=1)
    x = jnp.zeros((1, 9), jnp.int32)
    params, _ = model.init(KEY, x[:, :3])
    y, _ = model.apply(params, {}, x.at[0, 0].set(2))
    reached = np.abs(np.asarray(y - model.apply(params, {}, x)[0])).sum(-1)[0] > 0
    assert reached.all()  # nine applications carry the first symbol over nine places
    with pytest.raises(ValueError, match="the kernel's odd"):
        neural_gpu(4, 3, size=2)


@pytest.mark.slow
def test_learns_to_add_single_digits():
    rule = backprop(neural_gpu(SYMBOLS, OUTPUTS, channels=8, width=2), cross_entropy)
    data, tx = arithmetic("+", 1, 32, length=3, seed=0), optax.adam(1e-2)
    state = jax.jit(lambda key: make_state(rule, tx, key, data(0)))(KEY)
    step = jax.jit(make_step(rule, tx))
    for number in range(150):
        state, found = step(state, data(number))
    assert found["accuracy"] > 0.97
