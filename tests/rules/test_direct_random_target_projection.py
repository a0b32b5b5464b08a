"""DRTP against its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import FROZEN
from jaxlearn.rules.direct_random_target_projection import direct_random_target_projection
from tests.rules import tanh_network as oracle

BATCH, KEY = oracle.a_batch(), oracle.KEY


def test_the_projected_label_is_the_error():
    rule = direct_random_target_projection(*oracle.network(), classes=oracle.CLASSES, scale=0.7)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, after, _ = jax.jit(rule.signal)(params, state, BATCH, KEY)
    labels, share = np.asarray(BATCH["labels"]), oracle.shares(BATCH)
    codes = [np.asarray(state[FROZEN]["heads"][name]["codes"], np.float64) for name in "01"]
    deltas = [share * own[labels] for own in codes]
    oracle.assert_signals(grads, oracle.expected(params, BATCH, deltas))
    jax.tree.map(np.testing.assert_array_equal, after, state)
    for own, width in zip(codes, oracle.WIDTHS, strict=True):
        assert np.abs(own).max() <= 0.7 * (6 / width) ** 0.5


def test_the_loss_of_the_task_plays_no_part_below_the_classifier():
    """Nor does the task's loss, and labels may be distributions."""
    rule = direct_random_target_projection(*oracle.network(), classes=oracle.CLASSES)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    soft = BATCH | {"labels": jax.nn.one_hot(BATCH["labels"], oracle.CLASSES)}
    quadratic = direct_random_target_projection(
        *oracle.network(), classes=3, objective=lambda outputs, batch: (jnp.sum(outputs**2), {})
    )
    hard = jax.jit(rule.signal)(params, state, BATCH, KEY)[0]
    same = jax.jit(quadratic.signal)(params, state, soft, KEY)[0]
    for name in "01":
        for a, b in zip(*map(jax.tree.leaves, (hard[name], same[name])), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="scale must be positive"):
        direct_random_target_projection(*oracle.network(), classes=3, scale=-1.0)
