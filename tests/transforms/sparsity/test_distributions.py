import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.transforms.sparsity.distributions import (
    DISTRIBUTIONS,
    budget,
    counts,
    erdos_renyi,
    erdos_renyi_kernel,
    named,
    proportional_to,
)

LENET = [(784, 300), (300, 100), (100, 10)]
STAGES = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
RESNET20 = [(3, 3, 3, 16)]
for _in, _out, _ in STAGES:
    RESNET20 += [(3, 3, _in, _out)] + [(3, 3, _out, _out)] * 5
RESNET20 += [(1, 1, 16, 32), (1, 1, 32, 64), (64, 10)]

shapes = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 20), st.integers(1, 20)),
    ),
    min_size=1,
    max_size=6,
)
densities = st.floats(0.001, 1.0)


@pytest.mark.parametrize(
    ("density", "wanted"),
    [
        (0.1, [0.079568, 0.230189, 1.0]),
        (0.05, [0.038484, 0.111334, 0.918507]),
        (0.02, [0.015394, 0.044534, 0.367403]),
    ],
)
def test_identity_3_erk_of_lenet(density, wanted):
    np.testing.assert_allclose(erdos_renyi_kernel(LENET, density), wanted, atol=1e-6)


def test_identity_3_erk_of_resnet20():
    assert sum(math.prod(shape) for shape in RESNET20) == 270_896
    found = dict(zip(RESNET20, erdos_renyi_kernel(RESNET20, 0.05), strict=True))
    wanted = {
        (3, 3, 3, 16): 0.4748,
        (3, 3, 16, 16): 0.1353,
        (3, 3, 32, 32): 0.0623,
        (3, 3, 64, 64): 0.0298,
        (1, 1, 16, 32): 0.8012,
        (1, 1, 32, 64): 0.3926,
        (64, 10): 0.9486,
    }
    for shape, density in wanted.items():
        assert found[shape] == pytest.approx(density, abs=5e-5)


@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
@settings(max_examples=60, deadline=None)
@given(shapes=shapes, density=densities)
def test_identity_3_total_is_exact(name, shapes, density):
    sizes = [math.prod(shape) for shape in shapes]
    shares = named(name)(shapes, density)
    assert all(0 <= share <= 1 + 1e-12 for share in shares)
    total = sum(share * size for share, size in zip(shares, sizes, strict=True))
    assert total == pytest.approx(density * sum(sizes), rel=1e-9)
    whole = counts(sizes, shares)
    assert sum(whole) == budget(sum(sizes), density)
    for count, share, size in zip(whole, shares, sizes, strict=True):
        assert 0 <= count <= size
        assert abs(count - share * size) < 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5),
    densities,
    st.integers(0, 10**6),
)
def test_a_distribution_of_ones_own_is_exact_and_proportional(shapes, density, seed):
    weights = np.random.default_rng(seed).uniform(0.1, 5, len(shapes)).tolist()
    found = proportional_to(weights)(shapes, density)
    sizes = [math.prod(shape) for shape in shapes]
    total = sum(share * size for share, size in zip(found, sizes, strict=True))
    assert total == pytest.approx(density * sum(sizes), rel=1e-9)
    ratios = [share / w for share, w in zip(found, weights, strict=True) if share < 1]
    assert np.allclose(ratios, ratios[:1] * len(ratios))


def test_a_distribution_of_ones_own_is_checked():
    with pytest.raises(ValueError, match="have to be positive"):
        proportional_to([1.0, 0.0])
    with pytest.raises(ValueError, match="2 weights for 3 prunable leaves"):
        proportional_to([1.0, 2.0])(LENET, 0.1)


def test_density_one_is_dense():
    assert erdos_renyi_kernel(LENET, 1.0) == pytest.approx([1.0, 1.0, 1.0])


def test_capped_leaves_leave_the_rest_proportional():
    found = erdos_renyi_kernel(LENET, 0.1)
    raw = [sum(shape) / math.prod(shape) for shape in LENET]
    assert found[2] == 1.0
    assert found[0] / found[1] == pytest.approx(raw[0] / raw[1])


def test_plain_erdos_renyi_does_not_see_the_window_of_a_filter():
    both = erdos_renyi([(3, 3, 8, 8), (1, 1, 8, 8)], 0.2)
    assert both[0] == pytest.approx(both[1])
    kernel = erdos_renyi_kernel([(3, 3, 8, 8), (1, 1, 8, 8)], 0.2)
    assert kernel[0] < kernel[1]


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5])
@pytest.mark.parametrize("name", sorted(DISTRIBUTIONS))
def test_refuses_densities_out_of_range(name, density):
    with pytest.raises(ValueError, match=f"density must be above 0 and at most 1, found {density}"):
        named(name)(LENET, density)


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="unknown distribution 'ekr', expected one of"):
        named("ekr")
