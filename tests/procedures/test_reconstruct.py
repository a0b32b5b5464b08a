"""Reconstruction block by block: targets, order, and what it improves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import Model, trees
from jaxlearn.models.opt import opt_blocks
from jaxlearn.parametrizations import Roles, retrain
from jaxlearn.procedures.pruning import Pruner, magnitude, prune, row_wise, unstructured, wanda
from jaxlearn.procedures.reconstruct import Local, reconstruct
from tests.drawn import variables

KEY = jax.random.key(0)
BLOCK = opt_blocks(11, 1, 8, longest=6, heads=2)[1]
X = jnp.asarray(np.random.default_rng(0).normal(size=(16, 5, 8)), jnp.float32)
DENSE = [variables(BLOCK, X, 2 * i)[0] for i in range(3)]
PRUNED = lambda path: path.endswith("kernel")
HALF = magnitude(unstructured(0.6))


def local(*subsets, steps=40):
    ways = retrain(subsets, Roles(PRUNED), rank=4, alpha=8.0)
    return Local(*ways, optax.adam(1e-2), steps, batch=8)


def run(way, dense=DENSE, pruner=HALF):
    return reconstruct([BLOCK] * len(dense), dense, X, pruner, PRUNED, KEY, way)


@pytest.mark.parametrize("way", ["biases", "norms", "mask_lora", "scale_lora", "full"])
def test_identity_7_every_block_comes_nearer_to_its_dense_outputs(way):
    found = run(local(way))
    assert all(after < before for before, after in zip(found.before, found.after, strict=True))
    if way in ("mask_lora", "full"):
        assert sum(found.after) < 0.8 * sum(found.before)
    for made, dense in zip(found.params, DENSE, strict=True):
        zeros = jax.tree.leaves(prune(HALF, dense, PRUNED, KEY))
        for (keys, new), old in zip(jax.tree.leaves_with_path(made), zeros, strict=True):
            if PRUNED(trees.path(keys)):
                np.testing.assert_array_equal(new == 0, old == 0)


def test_identity_7_a_block_does_not_hear_of_those_above():
    other = [*DENSE[:2], jax.tree.map(lambda leaf: -leaf, DENSE[2])]
    first, second = run(local("mask_lora")), run(local("mask_lora"), other)
    jax.tree.map(np.testing.assert_array_equal, first.params[:2], second.params[:2])
    alone = run(local("mask_lora"), DENSE[:1])
    jax.tree.map(np.testing.assert_array_equal, first.params[:1], alone.params)


def test_identity_7_without_training_it_is_plain_pruning():
    found = run(None)
    for made, dense in zip(found.params, DENSE, strict=True):
        jax.tree.map(np.testing.assert_array_equal, made, prune(HALF, dense, PRUNED, KEY))
    assert found.before == found.after


def test_targets_are_the_dense_block_on_what_the_pruned_blocks_below_give():
    found = run(None)
    x = X
    for made, dense, error in zip(found.params, DENSE, found.before, strict=True):
        target = BLOCK.apply(dense, {}, x)[0]
        x = BLOCK.apply(made, {}, x)[0]
        assert float(jnp.mean((x - target) ** 2)) == pytest.approx(error, rel=1e-5)


def test_statistics_for_pruning_are_those_of_the_inputs_from_below():
    found = run(None, pruner=wanda(row_wise(0.5)))
    x = BLOCK.apply(found.params[0], {}, X)[0]
    alone = reconstruct([BLOCK], DENSE[1:2], x, wanda(row_wise(0.5)), PRUNED, KEY)
    jax.tree.map(np.testing.assert_array_equal, found.params[1], alone.params[0])


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="2 blocks, but parameters of 3"):
        reconstruct([BLOCK] * 2, DENSE, X, HALF, PRUNED, KEY)
    with pytest.raises(ValueError, match="batches of 8 out of 4"):
        reconstruct([BLOCK], DENSE[:1], X[:4], HALF, PRUNED, KEY, local("biases"))


def test_errors_of_half_precision_blocks_are_single_precision():
    """A difference of 300, whose square is beyond float16."""
    scale = Model(lambda key, x: ({"kernel": jnp.ones((1, 1), x.dtype)}, {}), _scaled)
    params = {"kernel": jnp.ones((1, 1), jnp.float16)}
    x = jnp.full((2, 3, 1), 300.0, jnp.float16)
    nothing = lambda weight, seen, key: jnp.zeros_like(weight)
    found = reconstruct([scale], [params], x, Pruner(nothing, False), PRUNED, KEY)
    assert found.before == [90_000.0]


def _scaled(params, state, x, **_):
    return x @ params["kernel"], state
