"""Problems in the plane: their geometry, and what a line can do."""

import numpy as np
import pytest

from jaxlearn.data.planes import rings, spirals, wave


def test_rings_have_their_radii_and_uniform_areas():
    found = rings(4000)
    radius = np.linalg.norm(found["inputs"], axis=1)
    inner, outer = radius[found["labels"] == 0], radius[found["labels"] == 1]
    assert inner.max() <= 0.5
    assert 1 <= outer.min() < outer.max() <= 1.5
    # uniform over the area: the mean of r^2 lies half way
    assert np.mean(inner**2) == pytest.approx(0.125, rel=0.05)
    assert np.mean(outer**2) == pytest.approx(1.625, rel=0.02)
    assert np.bincount(found["labels"]).tolist() == [2000, 2000]


def test_no_line_gets_more_than_70_percent_of_the_rings():
    found = rings(4000, seed=1)
    for angle in np.linspace(0, np.pi, 12):
        along = found["inputs"] @ np.array([np.cos(angle), np.sin(angle)])
        for cut in np.linspace(-1.5, 1.5, 31):
            right = ((along > cut) == found["labels"]).mean()
            assert max(right, 1 - right) < 0.7


def test_spirals_are_each_other_turned_by_half_a_turn():
    found = spirals(400, noise=0.0, turns=2.0)
    radius = np.linalg.norm(found["inputs"], axis=1)
    angle = np.arctan2(found["inputs"][:, 1], found["inputs"][:, 0])
    expected = 2 * np.pi * 2.0 * radius + np.pi * found["labels"]
    np.testing.assert_allclose(np.cos(angle - expected), 1, atol=1e-4)
    assert 0.1 <= radius.min() < radius.max() <= 1


def test_the_wave_is_its_formula():
    found = wave(50)
    x = found["inputs"][:, 0].astype(np.float64)
    np.testing.assert_allclose(found["labels"], np.sin(3 * np.pi * x) * np.exp(-(x**2)), atol=1e-5)


@pytest.mark.parametrize("draw", [rings, spirals, wave])
def test_draws_depend_on_the_seed_alone(draw):
    a, b, other = draw(20, 3), draw(20, 3), draw(20, 4)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    assert not np.array_equal(a["inputs"], other["inputs"])
    assert a["index"].tolist() == list(range(20))
    with pytest.raises(ValueError, match="n=1 points"):
        draw(1)
