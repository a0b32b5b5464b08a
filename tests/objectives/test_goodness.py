"""Goodness and the forward-forward loss against closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import forward_forward_loss, goodness

RNG = np.random.default_rng(0)


def test_identity_2_the_loss_of_a_silent_layer():
    silent = goodness(jnp.zeros((3, 8)))
    apart = forward_forward_loss(silent, -jnp.full(3, 1e4), 2.0)  # nothing from the negatives
    np.testing.assert_allclose(apart, np.log1p(np.exp(2)), atol=1e-6)
    np.testing.assert_allclose(apart, 2.126928, atol=1e-6)
    apart = forward_forward_loss(jnp.full(3, 1e4), silent, 2.0)  # nothing from the positives
    np.testing.assert_allclose(apart, 0.126928, atol=1e-6)


@pytest.mark.parametrize("negatives", [(), (4,)])
def test_loss_is_the_cross_entropy_of_sigmoid_probabilities(negatives):
    positive, negative = RNG.uniform(0, 5, 6), RNG.uniform(0, 5, (*negatives, 6))
    real, made_up = (1 / (1 + np.exp(1.5 - g)) for g in (positive, negative))
    want = -np.log(real) - np.log(1 - made_up).reshape(-1, 6).mean(0)
    np.testing.assert_allclose(forward_forward_loss(positive, negative, 1.5), want, rtol=1e-5)


def test_goodness_measures_rows_of_any_shape():
    h = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(goodness(h), (h.astype(float) ** 2).sum((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(
        goodness(h, mean=True), (h.astype(float) ** 2).mean((1, 2)), rtol=1e-6
    )


def test_descent_raises_positive_and_lowers_negative_goodness():
    by = jax.grad(lambda p, n: forward_forward_loss(p, n, 2.0).sum(), (0, 1))
    for extreme in (0.0, 2.0, 500.0):
        raised, lowered = by(jnp.full(1, extreme), jnp.full((2, 1), extreme))
        assert raised <= 0
        assert (lowered >= 0).all()
        assert bool(jnp.isfinite(raised).all())
        # each of two negatives counts half
        np.testing.assert_allclose(-raised[0] + lowered.sum(), 1, atol=1e-6)


def test_goodness_of_different_examples_is_refused():
    with pytest.raises(ValueError, match=r"positives and .* found \[3\] and \[4\]"):
        forward_forward_loss(jnp.zeros(3), jnp.zeros(4), 2.0)
