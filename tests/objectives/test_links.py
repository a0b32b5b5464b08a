"""Prediction of links: losses in float64, and the ranking against scikit-learn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import roc_auc_score

from jaxlearn.objectives import link_cross_entropy, link_forward_forward, ranking

RNG = np.random.default_rng(0)


class Embedded(NamedTuple):
    rows: jax.Array


Z = Embedded(jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32))
PAIRS = np.array([[[0, 1], [0, 5]], [[2, 3], [4, 1]], [[4, 5], [2, 2]]])
ROWS = np.asarray(Z.rows, np.float64)
PRODUCTS = ROWS[PAIRS[:, :, 0]] * ROWS[PAIRS[:, :, 1]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cross_entropy_of_inner_products():
    task, batch = link_cross_entropy(), {"inputs": PAIRS}
    probabilities = sigmoid(PRODUCTS.sum(-1))
    want = -np.log(np.where([True, False], probabilities, 1 - probabilities)).mean()
    loss, metrics = task.objective(Z, batch)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(metrics["above"], (probabilities[:, 0] > probabilities[:, 1]).mean())
    np.testing.assert_allclose(task.vote(Z, batch), probabilities, rtol=1e-5)


def test_forward_forward_on_the_products_of_units():
    task, batch = link_forward_forward(1.5), {"inputs": PAIRS}
    real = sigmoid((PRODUCTS**2).sum(-1) - 1.5)
    loss, _ = task.objective(Z, batch)
    want = (-np.log(real[:, 0]) - np.log(1 - real[:, 1])).mean()
    np.testing.assert_allclose(loss, want, rtol=1e-4)
    np.testing.assert_allclose(task.vote(Z, batch), real, rtol=1e-5)


def test_examples_of_weight_zero_change_nothing():
    padded = {"inputs": np.concatenate([PAIRS, PAIRS[:1]]), "weight": np.array([4, 4, 4, 0]) / 3}
    for task in (link_cross_entropy(), link_forward_forward()):
        want, found = task.objective(Z, {"inputs": PAIRS})[0], task.objective(Z, padded)[0]
        np.testing.assert_allclose(found, want, rtol=1e-6)


def area(scores) -> float:
    real = np.broadcast_to([1, 0], scores.shape)
    return roc_auc_score(real.ravel(), np.asarray(scores).ravel())


def test_ranking_averages_to_the_area_under_the_curve():
    free, tied = RNG.normal(size=(50, 2)), RNG.integers(0, 4, (50, 2)).astype(float)
    for scores in (free + np.array([0.7, 0]), tied + np.array([1, 0])):
        shares = ranking(jnp.asarray(scores, jnp.float32))
        assert shares.shape == (50,)
        np.testing.assert_allclose(shares.mean(), area(scores), atol=1e-6)
