"""Truncation between its two ends, SLTT and BPTT, and against a loop over windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import SEQUENCE, stack
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import bptt, sltt, truncated_bptt

T, KEY = 6, jax.random.key(0)
NET = stack(spiking_mlp_blocks(3, widths=(12,), neuron=Neuron(decay=0.7)))


def batch(axis):
    shape = {None: (5, 8), 0: (T, 5, 8), 1: (5, T, 8)}[axis]
    labels = jax.random.randint(KEY, (5,), 0, 3)
    index = jnp.arange(5, dtype=jnp.int32)
    return {"inputs": 1.5 * jax.random.normal(KEY, shape), "labels": labels, "index": index}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def signal(rule, axis):
    params, state = jax.jit(rule.init)(KEY, batch(axis))
    return jax.jit(rule.signal)(params, state, batch(axis), KEY)


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


@pytest.mark.parametrize("axis", [None, 1, pytest.param(0, marks=pytest.mark.slow)])
def test_one_step_is_sltt_and_all_steps_are_bptt(axis):
    ends = [
        (sltt(NET, cross_entropy, T, time_axis=axis), 1),
        (bptt(NET, cross_entropy, T, time_axis=axis), T),
    ]
    for rule, k in ends:
        ours = truncated_bptt(NET, cross_entropy, T, k, time_axis=axis)
        (grads, _, metrics), (wanted, _, same) = signal(ours, axis), signal(rule, axis)
        assert relative(grads, wanted) < 1e-6
        np.testing.assert_allclose(metrics["loss"], same["loss"], rtol=1e-6)
    far = relative(*(signal(rule, axis)[0] for rule, _ in ends))
    assert far > 0.05


@pytest.mark.parametrize("k", [2, 3])
def test_in_between_it_is_one_loop_whose_membranes_are_cut_every_k_steps(k):
    rule = truncated_bptt(NET, cross_entropy, T, k, time_axis=1)
    params, _ = jax.jit(rule.init)(KEY, batch(1))

    def loss_of(params):
        state, total = {}, 0.0
        for t in range(T):
            if t and t % k == 0:
                state = {SEQUENCE: jax.lax.stop_gradient(state[SEQUENCE])}
            outputs, state = NET.apply(params, state, batch(1)["inputs"][:, t])
            total += cross_entropy(outputs, batch(1))[0] / T
        return total

    assert relative(signal(rule, 1)[0], jax.jit(jax.grad(loss_of))(params)) < 1e-5


def test_prediction_is_that_of_the_whole_sequence():
    params, state = jax.jit(NET.init)(KEY, batch(None)["inputs"])
    rules = (
        truncated_bptt(NET, cross_entropy, T, 3, time_axis=1),
        bptt(NET, cross_entropy, T, time_axis=1),
    )
    outputs = [jax.jit(rule.predict)(params, {}, batch(1))[0] for rule in rules]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    assert SEQUENCE in state


def test_memory_grows_with_the_window_alone():
    net = stack(spiking_mlp_blocks(3, widths=(64,)))
    still = {"inputs": jnp.ones((64, 64)), "labels": jnp.zeros(64, jnp.int32)}

    def temp_bytes(T, k):
        rule = truncated_bptt(net, cross_entropy, T, k)
        shapes = jax.eval_shape(rule.init, KEY, still)
        compiled = jax.jit(rule.signal).lower(*shapes, still, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert abs(temp_bytes(32, 4) - temp_bytes(8, 4)) < 0.05 * temp_bytes(8, 4)
    assert temp_bytes(32, 32) > 3 * temp_bytes(32, 4)


@pytest.mark.parametrize("k", [0, 4, 12])
def test_windows_that_do_not_fit_are_refused(k):
    with pytest.raises(ValueError, match=r"k must divide T=6 .* found k="):
        truncated_bptt(NET, cross_entropy, T, k)


def test_another_number_of_frames_is_refused():
    rule = truncated_bptt(NET, cross_entropy, 4, 2, time_axis=1)
    with pytest.raises(ValueError, match="6 frames on axis 1, expected T=4"):
        rule.init(KEY, batch(1))
