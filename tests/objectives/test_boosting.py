"""The table of boosting losses against automatic differentiation and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives.boosting import binary_logistic, softmax_cross_entropy, squared_error

KEY = jax.random.key(1)
F = jax.random.normal(KEY, (40, 1))
STEP = jax.random.normal(jax.random.key(2), (40, 1))
SIGNS = jnp.where(jnp.arange(40)[:, None] % 3 == 0, 1.0, -1.0)
HOT = jax.nn.one_hot(jnp.arange(40) % 3, 3)
WIDE = jax.random.normal(jax.random.key(3), (40, 3))
CASES = {
    "squared": (squared_error(), jnp.sin(F), F),
    "binary": (binary_logistic(), SIGNS, F),
    "softmax": (softmax_cross_entropy(), HOT, WIDE),
}


@pytest.mark.parametrize("name", CASES)
def test_residuals_are_the_negative_gradient(name):
    loss, y, scores = CASES[name]
    slope = jax.grad(lambda F: loss.loss(y, F).sum())(scores)
    factor = 2 if name == "squared" else 1  # the paper halves the squared error's
    np.testing.assert_allclose(factor * loss.residual(y, scores), -slope, atol=1e-5)


def test_identity_4_the_binary_step_is_newtons():
    loss = binary_logistic()
    along = lambda s: loss.loss(SIGNS, F + s * STEP).sum()
    newton = -jax.grad(along)(0.0) / jax.grad(jax.grad(along))(0.0)
    ours = loss.newton(SIGNS, loss.residual(SIGNS, F), STEP)
    np.testing.assert_allclose(ours, newton, rtol=1e-5)


def test_identity_4_the_softmax_step_has_the_diagonal_of_the_hessian():
    loss, along = softmax_cross_entropy(), jax.random.normal(KEY, (40, 3))
    each = jax.vmap(jax.hessian(lambda F, y: loss.loss(y[None], F[None])[0]))(WIDE, HOT)
    diagonal = jnp.diagonal(each, axis1=1, axis2=2)
    residual = loss.residual(HOT, WIDE)
    expected = (residual * along).sum() / (along**2 * diagonal).sum()
    np.testing.assert_allclose(loss.newton(HOT, residual, along), expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["squared", "binary"])
def test_identity_5_no_constant_is_better_than_the_first(name):
    loss, y, _ = CASES[name]
    mean = lambda c: loss.loss(y, jnp.broadcast_to(c, y.shape)).mean()
    np.testing.assert_allclose(jax.grad(mean)(loss.initial(y)), 0, atol=1e-6)


def test_identity_5_the_softmax_starts_from_zero_not_from_the_frequencies():
    y = jax.nn.one_hot(jnp.array([0, 0, 0, 1]), 3)
    assert softmax_cross_entropy().initial(y).tolist() == [0, 0, 0]


def test_identity_7_softmax_residuals_sum_to_zero():
    residual = softmax_cross_entropy().residual(HOT, 5 * WIDE)
    np.testing.assert_allclose(residual.sum(1), 0, atol=1e-6)


def test_binary_and_two_class_probabilities_and_scores_of_any_size():
    loss, large = binary_logistic(), jnp.array([[300.0], [-300.0]])
    assert np.isfinite(loss.loss(-jnp.sign(large), large)).all()
    np.testing.assert_allclose(loss.residual(jnp.ones((2, 1)), large), [[0], [2]])
    two = softmax_cross_entropy().predict(jnp.concatenate([F, -F], 1))[:, :1]
    np.testing.assert_allclose(loss.predict(F), two, rtol=1e-6)


def test_vanished_residuals_make_no_step():
    for loss, y in ((binary_logistic(), SIGNS), (softmax_cross_entropy(), HOT)):
        nothing = jnp.zeros_like(y)
        assert loss.newton(y, nothing, jnp.ones_like(y)) == 0
    assert np.isfinite(binary_logistic().initial(jnp.ones((5, 1)))).all()
