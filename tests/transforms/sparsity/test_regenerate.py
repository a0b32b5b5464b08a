import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.transforms.sparsity.regenerate import nearest_zero_of_each_sign, regenerate

SHAPE = (6, 7)
jitted = jax.jit(regenerate)


def oracle(mask, weight, growth, count):
    """Two stable numpy sorts, index breaking ties."""
    mask, size = mask.ravel(), mask.size
    kept = np.zeros(size, bool)
    by_weight = np.argsort(-np.abs(weight).ravel(), kind="stable")
    kept[by_weight[mask[by_weight]][: mask.sum() - count]] = True
    grown = np.zeros(size, bool)
    by_growth = np.argsort(-growth.ravel(), kind="stable")
    grown[by_growth[~kept[by_growth]][:count]] = True
    return kept.reshape(SHAPE), grown.reshape(SHAPE)


@st.composite
def leaves(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    mask = rng.random(SHAPE) < draw(st.floats(0, 1))
    ties = draw(st.booleans())
    values = rng.integers(-3, 4, (2, *SHAPE)) if ties else rng.standard_normal((2, *SHAPE))
    weight, grad = values.astype(np.float32)
    count = draw(st.integers(0, int(mask.sum())))
    return mask, np.where(mask, weight, 0), np.abs(grad), count


@settings(max_examples=80, deadline=None)
@given(leaves())
def test_identity_4_kept_and_grown_are_those_of_a_sort(leaf):
    kept, grown = oracle(*leaf)
    np.testing.assert_array_equal(jitted(*leaf), kept | grown)


@settings(max_examples=40, deadline=None)
@given(leaves())
def test_identity_1_number_of_active_weights_is_kept(leaf):
    assert int(jitted(*leaf).sum()) == int(leaf[0].sum())


def test_a_removed_weight_may_come_back():
    mask = np.array([[True, True, False]])
    weight, growth = np.array([[0.1, 1.0, 0.0]]), np.array([[9.0, 0.0, 1.0]])
    np.testing.assert_array_equal(regenerate(mask, weight, growth, 1), mask)


@settings(max_examples=60, deadline=None)
@given(leaves())
def test_removal_of_set_takes_half_from_each_sign(leaf):
    """Numpy sorts within each sign; where one sign runs out the other gives the rest."""
    mask, weight, _, count = leaf
    up, down = mask & (weight >= 0), mask & (weight < 0)
    half = min(max((count + 1) // 2, count - int(down.sum())), int(up.sum()))
    gone = np.zeros(mask.size, bool)
    for sign, number in ((up, half), (down, count - half)):
        # equal sizes: the later place goes, as everywhere here
        order = sorted(range(mask.size), key=lambda i: (abs(weight.ravel()[i]), -i))
        gone[[i for i in order if sign.ravel()[i]][:number]] = True
    (found,) = nearest_zero_of_each_sign([mask], [weight], [count])
    np.testing.assert_array_equal(found, mask & ~gone.reshape(SHAPE))
    assert int(found.sum()) == int(mask.sum()) - count
