import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.analysis.cka import cka_matrix, linear_cka

RANDOM = np.random.default_rng(0)


def by_covariance(x, y):
    """The definition by feature products, in float64."""
    x, y = (a.reshape(len(a), -1) - a.reshape(len(a), -1).mean(0) for a in (x, y))
    norm = np.linalg.norm
    return norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def test_gram_and_covariance_forms_agree():
    x, y = RANDOM.normal(size=(20, 3, 2)), RANDOM.normal(size=(20, 50))
    y[:, :6] += x.reshape(20, 6)
    np.testing.assert_allclose(linear_cka(x, y), by_covariance(x, y), rtol=1e-4)
    matrix = cka_matrix([jnp.asarray(x), jnp.asarray(y)], [jnp.asarray(y)])
    np.testing.assert_allclose(matrix, [[by_covariance(x, y)], [1.0]], rtol=1e-4)


def test_rotations_scales_and_shifts_do_not_matter_but_other_maps_do():
    x = RANDOM.normal(size=(30, 5))
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    assert float(linear_cka(x, 3 * x @ rotation + 7)) == pytest.approx(1, abs=1e-5)
    assert float(linear_cka(x, x * np.array([10, 1, 1, 1, 1]))) < 0.9


def test_uncorrelated_and_constant_representations_give_zero():
    x = np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    y = np.array([1.0, -1.0, 1.0, -1.0])[:, None]
    assert float(linear_cka(x, y)) == 0
    assert float(linear_cka(x, np.ones((4, 2)))) == 0


def test_different_numbers_of_examples_are_refused():
    with pytest.raises(ValueError, match="found 3 and 4 rows"):
        linear_cka(np.ones((3, 2)), np.ones((4, 2)))
