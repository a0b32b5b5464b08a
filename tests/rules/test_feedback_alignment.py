"""Feedback alignment against its equations, and where it meets backpropagation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxlearn.core import FROZEN, from_linen, stack, through_time
from jaxlearn.models.recurrent import recurrent
from jaxlearn.models.shallow_blocks import conv_blocks
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.feedback_alignment import feedback_alignment, with_feedback
from tests.rules import tanh_network as oracle

BATCH, KEY = oracle.a_batch(), oracle.KEY
near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["random", "sign", "random_sign"])
def test_errors_go_back_through_the_feedback_weights(kind):
    rule = feedback_alignment(*oracle.network(), feedback=kind)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, after, _ = jax.jit(rule.signal)(params, state, BATCH, KEY)
    inputs, logits = oracle.forward(params, BATCH)

    def back(i):
        fixed = np.asarray(state[FROZEN][str(i)]["feedback"]["Dense_0/kernel"], np.float64)
        w, _ = oracle.weights(params, i)
        if kind == "sign":
            np.testing.assert_allclose(fixed, np.sqrt((w**2).mean()), rtol=1e-5)
        return fixed if kind == "random" else np.abs(fixed) * np.sign(w)

    upper = oracle.output_error(logits, BATCH) @ back(2).T
    lower = (upper * (1 - inputs[2] ** 2)) @ back(1).T
    oracle.assert_signals(grads, oracle.expected(params, BATCH, [lower, upper]))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    fixed = state[FROZEN]["1"]["feedback"]["Dense_0/kernel"]
    assert not np.allclose(fixed, oracle.weights(params, 1)[0])


def aligned(params, state):
    """The state with the forward weights as feedback."""
    for name, own in state[FROZEN].items():
        leaves = {
            "/".join(str(k.key) for k in keys): leaf
            for keys, leaf in jax.tree.leaves_with_path(params[name])
        }
        own["feedback"] = {path: leaves[path] for path in own["feedback"]}
    return state


def test_with_the_forward_weights_it_is_backprop_of_a_convolutional_network():
    blocks, readout = conv_blocks(3, (2, "pool", 3), (4,), size=3)
    batch = {"inputs": jax.random.normal(KEY, (5, 4, 4, 1)), "labels": jnp.array([0, 1, 2, 0, 1])}
    rule, full = (
        feedback_alignment(blocks, readout),
        backprop(stack([*blocks, readout]), cross_entropy),
    )
    params, state = jax.jit(rule.init)(KEY, batch)
    theirs = jax.jit(full.signal)(params, {}, batch, KEY)[0]
    signal = jax.jit(rule.signal)
    ours = signal(params, state, batch, KEY)[0]
    assert not np.allclose(ours["0"]["Conv_0"]["kernel"], theirs["0"]["Conv_0"]["kernel"], 1e-2)
    jax.tree.map(near, signal(params, aligned(params, state), batch, KEY)[0], theirs)


def test_blocks_of_blocks_and_recurrent_layers_are_known_by_their_kernels():
    cell, end = recurrent(4), from_linen(linen.Dense(3))
    net = stack([cell, stack([end, end])])
    last = lambda outputs, batch: cross_entropy(outputs[-1], batch)
    over = lambda model: backprop(through_time(model, 3), last)
    rule = over(stack([with_feedback(cell), with_feedback(stack([end, end]))]))
    params, state = jax.jit(rule.init)(KEY, BATCH)
    assert set(state[FROZEN]["1"]["feedback"]) == {"0/kernel", "1/kernel"}
    theirs = jax.jit(over(net).signal)(params, {}, BATCH, KEY)[0]
    ours = jax.jit(rule.signal)(params, aligned(params, state), BATCH, KEY)[0]
    jax.tree.map(near, ours, theirs)


def test_layers_it_does_not_know_are_refused():
    class Own(linen.Module):
        @linen.compact
        def __call__(self, x):
            return x @ self.param("kernel", linen.initializers.ones, (x.shape[-1], 2))

    model = with_feedback(from_linen(Own()))
    params, state = model.init(KEY, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="the kernel kernel is none of a Dense or Conv"):
        model.apply(params, state, jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="feedback must be"):
        with_feedback(model, "transposed")
