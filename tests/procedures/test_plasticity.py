"""Pruning a dense network at once, with and without regrowth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.procedures.plasticity import pruned, regrown
from jaxlearn.transforms.sparsity.distributions import budget

RNG = np.random.default_rng(0)
PARAMS = {
    "b": jnp.ones(4),
    "v": jnp.asarray(3 * RNG.standard_normal((6, 5)), jnp.float32),
    "w": jnp.asarray(RNG.standard_normal((8, 5)), jnp.float32),
}
GRADIENT = jax.tree.map(lambda p: jnp.asarray(RNG.standard_normal(p.shape), jnp.float32), PARAMS)
NAMES = ("v", "w")


def test_global_prunes_the_smallest_of_all_and_uniform_the_smallest_of_each():
    for ratio in (0.2, 0.5, 0.8, 0.98):
        everywhere = pruned(PARAMS, ratio)
        size = np.concatenate([np.abs(PARAMS[n]).ravel() for n in NAMES])
        kept = np.concatenate([np.ravel(everywhere[n]) for n in NAMES])
        assert kept.sum() == budget(70, 1 - ratio)
        assert not kept.any() or size[kept].min() > size[~kept].max()
        each = pruned(PARAMS, ratio, scope="uniform")
        assert sum(int(each[n].sum()) for n in NAMES) == budget(70, 1 - ratio)
        for name in NAMES:
            assert abs(int(each[name].sum()) - (1 - ratio) * PARAMS[name].size) < 1
        assert everywhere["b"] is each["b"] is None


@pytest.mark.parametrize("scope", ["global", "uniform"])
def test_regrowth_returns_what_the_prune_took_where_the_gradient_is_largest(scope):
    """From masks that are sparse already, so that there is a choice of what to grow."""
    before, after = pruned(PARAMS, 0.3, scope=scope), pruned(PARAMS, 0.8, scope=scope)
    found = regrown(before, after, GRADIENT)
    for name in NAMES:
        had, left, new = (np.ravel(mask[name]) for mask in (before, after, found))
        count = had.sum() - left.sum()
        assert count > 0
        order = np.argsort(-np.where(left, -1, np.abs(GRADIENT[name]).ravel()), kind="stable")
        grown = np.zeros(left.size, bool)
        grown[order[:count]] = True
        np.testing.assert_array_equal(new, left | grown)
        assert new.sum() == had.sum()
        assert (grown & ~had).any(), "entries that were never active may grow too"
    assert found["b"] is None


def test_from_a_dense_network_everything_that_was_pruned_grows():
    dense = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, bool), PARAMS) | {"b": None}
    found = regrown(dense, pruned(PARAMS, 0.8), GRADIENT)
    assert all(found[name].all() for name in NAMES)


def test_after_a_prune_of_nothing_nothing_grows():
    before = pruned(PARAMS, 0.5)
    jax.tree.map(np.testing.assert_array_equal, before, regrown(before, before, GRADIENT))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pruned(PARAMS, 1.0), "below 1, found 1.0"),
        (lambda: pruned(PARAMS, 0.5, scope="local"), "unknown scope 'local'"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
