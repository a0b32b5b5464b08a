"""The angle to a direction, and the contrast of two of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives.cosine_goodness import contrast_loss, cosine_goodness, direction

H = np.random.default_rng(0).normal(size=(6, 20))
XI = np.asarray(direction(jax.random.key(0), 20))


@pytest.mark.parametrize("absolute", [True, False])
def test_identity_2_goodness_is_a_cosine_whatever_the_length(absolute):
    found = np.asarray(cosine_goodness(jnp.asarray(H), XI, absolute=absolute))
    rows = np.abs(H) if absolute else H
    want = [np.dot(r, XI) / np.linalg.norm(r) / np.linalg.norm(XI) for r in rows]
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert (np.abs(found) <= 1).all()
    lengths = np.geomspace(1e-2, 1e3, 6)[:, None]
    scaled = cosine_goodness(jnp.asarray(H * lengths), 7 * XI, absolute=absolute)
    np.testing.assert_allclose(scaled, found, atol=1e-6)


def test_identity_2_the_loss_is_log_2_at_a_tie_and_bounded_below():
    tie = jnp.linspace(-1, 1, 5)
    np.testing.assert_allclose(contrast_loss(tie, tie, 5.0), np.log(2), rtol=1e-6)
    best = contrast_loss(jnp.ones(1), -jnp.ones(1), 4.0)
    np.testing.assert_allclose(best, np.log(1 + np.exp(-8.0)), rtol=1e-4)
    grid = jnp.linspace(-1, 1, 9)
    losses = contrast_loss(jnp.repeat(grid, 9), jnp.tile(grid, 9), 4.0)
    assert losses.min() == best[0]


def test_identity_4_the_sign_of_a_unit_counts_only_without_the_absolute_value():
    flipped = H * np.where(np.arange(20) == 3, -1, 1)
    same = cosine_goodness(jnp.asarray(flipped), XI)
    np.testing.assert_allclose(same, cosine_goodness(jnp.asarray(H), XI), atol=1e-6)
    signed, other = (cosine_goodness(jnp.asarray(h), XI, absolute=False) for h in (H, flipped))
    assert np.abs(signed - other).min() > 1e-4


def test_a_row_of_zeros_has_goodness_0_and_a_finite_gradient():
    zero = jnp.zeros((1, 20))
    assert cosine_goodness(zero, XI)[0] == 0
    slope = jax.grad(lambda h: cosine_goodness(h, XI, absolute=False).sum())(zero)
    assert np.isfinite(slope).all()


def test_directions_are_drawn_alike_in_all_quadrants():
    drawn = np.stack([direction(key, 20) for key in jax.random.split(jax.random.key(1), 100)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-6)
    assert abs(drawn.mean()) < 0.02
    angles = drawn @ drawn.T - np.eye(100)
    assert np.abs(angles).max() < 0.95
    assert abs(angles.std() * 20**0.5 - 1) < 0.1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"20 entries.*\[3\]"):
        cosine_goodness(jnp.asarray(H), jnp.ones(3))
    with pytest.raises(ValueError, match="as many negatives"):
        contrast_loss(jnp.ones(3), jnp.ones(2))
