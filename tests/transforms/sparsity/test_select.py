from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.transforms.sparsity.select import largest, largest_each

SHAPES = ((3, 5), (7,), (2, 2, 2, 3))
jitted = jax.jit(largest)


def oracle(scores, k, allowed):
    """The first k of a stable sort by falling score over all leaves laid end to end."""
    score = np.concatenate([np.ravel(s) for s in scores]).astype(np.float64)
    score = np.where(np.isnan(score), 0.0, score)
    ok = np.concatenate([np.ravel(a) for a in allowed])
    order = np.argsort(-score, kind="stable")
    chosen = np.zeros(ok.size, bool)
    chosen[order[ok[order]][:k]] = True
    parts = np.split(chosen, np.cumsum([np.size(s) for s in scores])[:-1])
    return [part.reshape(np.shape(s)) for part, s in zip(parts, scores, strict=True)]


def draw_tree(seed, levels):
    rng = np.random.default_rng(seed)
    draw = (
        (lambda shape: rng.integers(0, levels, shape).astype(np.float32))
        if levels
        else (lambda shape: np.abs(rng.standard_normal(shape)).astype(np.float32))
    )
    scores = [draw(shape) for shape in SHAPES]
    return scores, [rng.random(shape) < rng.random() for shape in SHAPES]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50), st.sampled_from([0, 1, 2, 5]))
def test_is_a_stable_sort_over_all_leaves(seed, k, levels):
    scores, allowed = draw_tree(seed, levels)
    found = jitted(scores, k, allowed)
    for ours, wanted in zip(found, oracle(scores, k, allowed), strict=True):
        np.testing.assert_array_equal(ours, wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50))
def test_count_is_exact_up_to_what_is_allowed(seed, k):
    scores, allowed = draw_tree(seed, 3)
    found = jitted(scores, k, allowed)
    active = sum(int(mask.sum()) for mask in allowed)
    assert sum(int(mask.sum()) for mask in found) == min(k, active)
    assert not any((np.asarray(m) & ~a).any() for m, a in zip(found, allowed, strict=True))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_order_holds_in_every_precision(dtype):
    values = [0.0, 1e-30, 1e-6, 0.5, 0.50390625, 3e4, np.inf]
    score = jnp.array(values, dtype)
    for k in range(len(values)):
        found = largest([score], k, [jnp.ones(len(values), bool)])[0]
        wanted = oracle([np.asarray(score, np.float32)], k, [np.ones(len(values), bool)])[0]
        np.testing.assert_array_equal(found, wanted)


def test_double_precision_is_not_rounded_to_single():
    with jax.enable_x64(True):
        score = jnp.array([1.0, 1.0 + 1e-12, 1.0 - 1e-12], jnp.float64)
        found = largest([score], 1, [jnp.ones(3, bool)])[0]
    np.testing.assert_array_equal(found, [False, True, False])


def test_what_is_not_a_number_comes_last():
    score = jnp.array([jnp.nan, 1.0, 2.0])
    np.testing.assert_array_equal(largest([score], 2, [jnp.ones(3, bool)])[0], [False, True, True])


def test_vmapped_equals_one_at_a_time():
    scores = jnp.stack([jnp.asarray(draw_tree(seed, 2)[0][0]) for seed in range(4)])
    k = jnp.array([0, 3, 7, 15])
    one = partial(largest, allowed=[jnp.ones((3, 5), bool)])
    together = jax.vmap(lambda s, k: one([s], k)[0])(scores, k)
    for i in range(4):
        np.testing.assert_array_equal(
            together[i], jitted([scores[i]], k[i], [np.ones((3, 5), bool)])[0]
        )


SPECIAL = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1e-39, 2e-39, -1e-39, 1.0, -1.0, np.inf, -np.inf, 3e38, -3e38],
    np.float32,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(SPECIAL) - 1), min_size=1, max_size=24), st.integers(0, 24))
def test_signs_zeros_infinities_and_subnormals_have_their_order(places, k):
    """Against a sort in double precision, in which the subnormal numbers are normal."""
    score = SPECIAL[places]
    wanted = oracle([score], k, [np.ones(score.size, bool)])[0]
    np.testing.assert_array_equal(largest([score], k, [np.ones(score.size, bool)])[0], wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.booleans())
def test_strict_keeps_what_is_above_the_kth_value(seed, k, ties):
    scores, allowed = draw_tree(seed, 3 if ties else 0)
    flat = np.concatenate([s[a] for s, a in zip(scores, allowed, strict=True)])
    threshold = -np.sort(-flat)[k - 1] if k <= flat.size else -np.inf
    for found, s, a in zip(largest(scores, k, allowed, strict=True), scores, allowed, strict=True):
        np.testing.assert_array_equal(found, a & (s > threshold))
    if not ties and k <= flat.size:
        assert sum(int(f.sum()) for f in largest(scores, k, allowed, strict=True)) == k - 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 24), min_size=3, max_size=3))
def test_each_leaf_by_itself_is_one_sort_per_leaf(seed, ks):
    scores, allowed = draw_tree(seed, 2)
    for found, score, k, ok in zip(
        largest_each(scores, ks, allowed), scores, ks, allowed, strict=True
    ):
        np.testing.assert_array_equal(found, oracle([score], k, [ok])[0])
