"""DFA and sDFA against their equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import FROZEN, from_linen, stack
from jaxlearn.models.shallow_blocks import ConvBlock, conv_blocks
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.direct_feedback_alignment import direct_feedback_alignment
from tests.rules import tanh_network as oracle

BATCH, KEY = oracle.a_batch(), oracle.KEY


@pytest.mark.parametrize("signs", [False, True])
def test_the_output_error_reaches_every_layer_through_its_matrix(signs):
    rule = direct_feedback_alignment(*oracle.network(), signs=signs)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, after, metrics = jax.jit(rule.signal)(params, state, BATCH, KEY)
    _, logits = oracle.forward(params, BATCH)
    error = oracle.output_error(logits, BATCH)
    sent = np.sign(error) * oracle.shares(BATCH) if signs else error
    feedback = state[FROZEN]["feedback"]
    deltas = [sent @ np.asarray(feedback[name], np.float64) for name in "01"]
    oracle.assert_signals(grads, oracle.expected(params, BATCH, deltas))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    assert set(metrics) == {"loss", "accuracy"}


@pytest.mark.slow
def test_the_network_is_that_of_backprop_and_so_is_its_readout():
    blocks, readout = conv_blocks(3, (2, "pool"), (4,), size=3)
    batch = {"inputs": jax.random.normal(KEY, (5, 4, 4, 1)), "labels": jnp.array([0, 1, 2, 0, 1])}
    ours = direct_feedback_alignment(blocks, readout)
    theirs = backprop(stack([*blocks, readout]), cross_entropy)
    params, state = jax.jit(ours.init)(KEY, batch)
    jax.tree.map(np.testing.assert_array_equal, params, jax.jit(theirs.init)(KEY, batch)[0])
    assert state[FROZEN]["feedback"]["0"].shape == (3, 4, 4, 2)
    found = jax.jit(ours.signal)(params, state, batch, KEY)
    full = jax.jit(theirs.signal)(params, {}, batch, KEY)
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    jax.tree.map(near, found[0]["2"], full[0]["2"])
    near(ours.predict(params, state, batch)[0], theirs.predict(params, {}, batch)[0])


def test_outputs_that_are_no_vectors_are_refused():
    rule = direct_feedback_alignment([], from_linen(ConvBlock(2, 3)))
    with pytest.raises(ValueError, match=r"must give \[B, C\], found shape \(2, 4, 4, 2\)"):
        rule.init(KEY, {"inputs": jnp.ones((2, 4, 4, 1))})
