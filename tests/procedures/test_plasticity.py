"""Pruning a dense network at once, with and without regrowth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.procedures.plasticity import kept_by_both, pruned, regrown
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
def test_regrowth_keeps_every_layers_count_and_takes_the_largest_gradients(scope):
    before = pruned(PARAMS, 0.6, scope=scope)
    after = regrown(PARAMS, before, GRADIENT, 0.5)
    weights = kept_by_both(PARAMS, before, after)
    for name in NAMES:
        old, new = np.asarray(before[name]), np.asarray(after[name])
        count = int(np.ceil(0.5 * old.sum()))
        size, slope = np.abs(PARAMS[name]), np.abs(GRADIENT[name])
        stay = np.zeros(old.size, bool)
        order = np.argsort(-np.where(old, size, -1).ravel(), kind="stable")
        stay[order[: old.sum() - count]] = True
        candidates = np.argsort(-np.where(stay, -1, slope.ravel()), kind="stable")
        grown = np.zeros(old.size, bool)
        grown[candidates[:count]] = True
        np.testing.assert_array_equal(new.ravel(), stay | grown)
        assert new.sum() == old.sum()
        found = np.asarray(weights[name])
        np.testing.assert_array_equal(found, np.where(old & new, PARAMS[name], 0))
        assert (found[new & ~old] == 0).all()
    np.testing.assert_array_equal(weights["b"], PARAMS["b"])


def test_swapping_nothing_is_the_prune_alone():
    before = pruned(PARAMS, 0.5)
    after = regrown(PARAMS, before, GRADIENT, 0.0)
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pruned(PARAMS, 1.0), "below 1, found 1.0"),
        (lambda: pruned(PARAMS, 0.5, scope="local"), "unknown scope 'local'"),
        (lambda: regrown(PARAMS, pruned(PARAMS, 0.5), GRADIENT, 1.5), "between 0 and 1, found 1.5"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
