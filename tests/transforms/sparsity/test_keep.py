"""Masks from scores over random trees: exact totals, exact shares, and the right weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.transforms.sparsity.distributions import DISTRIBUTIONS, budget, counts, named
from jaxlearn.transforms.sparsity.keep import keep, keep_per_output
from jaxlearn.transforms.sparsity.packed import pack, unpack
from jaxlearn.transforms.sparsity.prunable import (
    as_tree,
    except_for,
    matrices_and_filters,
    prunable_leaves,
)
from jaxlearn.transforms.sparsity.structured import block_scores, channel, n_of_m, spread

SHAPES = (((3, 4),), ((3, 4), (5,), (2, 6)), ((1, 1), (2, 2, 3, 2), (4,), (3, 5), (2, 1)))
"""Three forms of trees: every new one would be compiled."""


@st.composite
def trees(draw):
    """Leaves of rank 1, 2 and 4, nested, some of them absent, with scores that may tie."""
    shapes = draw(st.sampled_from(SHAPES))
    rng, ties = np.random.default_rng(draw(st.integers(0, 10**6))), draw(st.booleans())
    leaf = lambda shape: (
        rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape)
    ).astype(np.float32)
    return {str(i): {"kernel": leaf(shape), "gone": None} for i, shape in enumerate(shapes)}


def flat(masks):
    return np.concatenate([np.ravel(mask) for mask in jax.tree.leaves(masks)])


@settings(max_examples=60, deadline=None)
@given(trees(), st.floats(0.01, 1.0))
def test_global_masks_are_the_budget_and_a_sort_of_all_scores(tree, density):
    masks = keep(tree, density)
    chosen = prunable_leaves(tree, matrices_and_filters)
    score = np.concatenate([np.ravel(leaf) for leaf in chosen.values()])
    wanted = np.zeros(score.size, bool)
    wanted[np.argsort(-score, kind="stable")[: budget(score.size, density)]] = True
    np.testing.assert_array_equal(flat(masks), wanted)
    for name, part in tree.items():
        exempt = part["kernel"].ndim not in (2, 4)
        assert (masks[name]["kernel"] is None) == exempt
        assert masks[name]["gone"] is None


@pytest.mark.parametrize("share", sorted(DISTRIBUTIONS))
@settings(max_examples=25, deadline=None)
@given(tree=trees(), density=st.floats(0.01, 1.0))
def test_shared_masks_have_exact_counts_and_leaves_sum_to_the_budget(share, tree, density):
    masks = jax.tree.leaves(keep(tree, density, share))
    chosen = list(prunable_leaves(tree, matrices_and_filters).values())
    wanted = counts([c.size for c in chosen], named(share)([c.shape for c in chosen], density))
    assert [int(mask.sum()) for mask in masks] == wanted
    assert sum(wanted) == budget(sum(c.size for c in chosen), density)
    for mask, score in zip(masks, chosen, strict=True):
        on, off = score[np.asarray(mask)], score[~np.asarray(mask)]
        assert not on.size or not off.size or on.min() >= off.max()


def test_strict_global_masks_keep_one_weight_less():
    tree = {"a": np.arange(12.0).reshape(3, 4), "b": np.arange(20.0).reshape(4, 5)[::-1] + 0.5}
    assert flat(keep(tree, 0.25)).sum() == 8
    assert flat(keep(tree, 0.25, strict=True)).sum() == 7


def test_exempt_leaves_have_no_mask_and_count_in_no_budget():
    tree = {"first": np.ones((4, 5)), "last": {"kernel": np.ones((5, 2))}}
    masks = keep(tree, 0.5, prunable=except_for(matrices_and_filters, "last/*"))
    assert masks["last"]["kernel"] is None
    assert int(masks["first"].sum()) == 10


@settings(max_examples=60, deadline=None)
@given(trees())
def test_packed_masks_come_back_and_take_a_bit_per_weight(tree):
    masks = keep(tree, 0.4)
    packed = pack(masks)
    again = unpack(packed)
    assert jax.tree.structure(again) == jax.tree.structure(masks)
    jax.tree.map(np.testing.assert_array_equal, again, masks)
    sizes = [mask.size for mask in jax.tree.leaves(masks)]
    assert [part.nbytes for part in jax.tree.leaves(packed)] == [-(-n // 8) for n in sizes]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(1, 4, 2, 0), (4, 3, 2, 0), (4, 2, 3, 1), (8, 1, 2, 1)]),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_n_of_m_is_exact_in_every_group(pattern, seed, ties):
    m, groups, others, axis = pattern
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, m + 1))
    shape = (m * groups, others) if axis == 0 else (others, m * groups)
    score = (rng.integers(0, 2, shape) if ties else rng.standard_normal(shape)).astype(np.float32)
    mask = np.moveaxis(np.asarray(n_of_m(jnp.asarray(score), n, m, axis)), axis, -1)
    rows = np.moveaxis(score, axis, -1).reshape(-1, m)
    for row, found in zip(rows, mask.reshape(-1, m), strict=True):
        wanted = np.zeros(m, bool)
        wanted[np.argsort(-row, kind="stable")[:n]] = True
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "extents",
    [[(2, 3)], [(3, 1), (2, 2)], [(2, 2), (1, 3), (3, 2)], [(1, 3), (1, 3), (2, 4), (5, 1)]],
)
def test_block_masks_are_constant_on_blocks_and_keep_whole_blocks(extents):
    grid, block = zip(*extents, strict=True)
    shape = [g * b for g, b in zip(grid, block, strict=True)]
    score = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    means = block_scores(score, block)
    assert means.shape == grid
    np.testing.assert_allclose(block_scores(spread(means, block), block), means, atol=1e-6)
    chosen = means > jnp.median(means)
    mask = spread(chosen, block)
    assert int(mask.sum()) == int(chosen.sum()) * math.prod(block)
    on = np.asarray(block_scores(mask.astype(jnp.float32), block))
    np.testing.assert_array_equal(on, np.asarray(chosen, np.float32))


def test_channels_are_pruned_whole():
    score = jnp.asarray(np.random.default_rng(1).standard_normal((3, 3, 4, 6)) ** 2)
    block = channel(score.shape)
    means = block_scores(score, block)
    mask = spread(keep({"w": means}, 0.5)["w"], block)
    per_channel = np.asarray(mask).reshape(-1, 6).sum(0)
    assert sorted(per_channel.tolist()) == [0, 0, 0, 36, 36, 36]
    sizes = np.asarray(score).reshape(-1, 6).mean(0)
    assert sizes[per_channel > 0].min() > sizes[per_channel == 0].max()


def test_density_per_output_is_exact():
    score = jnp.asarray(np.random.default_rng(2).standard_normal((3, 3, 4, 6)))
    assert keep_per_output(score, 0.3).sum((0, 1, 2)).tolist() == [10] * 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: keep({"w": jnp.ones((2, 2))}, 0.0), "density must be above 0"),
        (lambda: keep({"w": jnp.ones((2, 2))}, 0.5, "ekr"), "unknown distribution 'ekr'"),
        (lambda: n_of_m(jnp.ones((6, 2)), 2, 4), "2 of 4 does not fit an axis of 6"),
        (lambda: n_of_m(jnp.ones((8, 2)), 5, 4), "5 of 4"),
        (lambda: block_scores(jnp.ones((6, 2)), (4, 1)), "do not tile"),
        (lambda: block_scores(jnp.ones((6, 2)), (2,)), r"a block of \(2,\)"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_masks_of_a_tree_return_to_their_places():
    tree = {"a": jnp.ones((2, 2)), "b": jnp.ones(3), "c": jnp.ones((1, 2))}
    masks = as_tree(tree, matrices_and_filters, [jnp.zeros((2, 2), bool), jnp.ones((1, 2), bool)])
    assert masks["b"] is None
    assert masks["c"].all()
    assert not masks["a"].any()
