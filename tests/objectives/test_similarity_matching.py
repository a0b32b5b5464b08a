import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives import cross_entropy, predsim_loss, similarity_matching
from jaxlearn.objectives.similarity_matching import similarity_matrix

RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 1, 0, 3, 1, 2])


def by_hand(vectors):
    """Pearson correlation of every pair of rows, in float64."""
    return np.corrcoef(np.asarray(vectors, np.float64))


def test_similarity_is_the_correlation_of_the_channels_deviations():
    maps = RANDOM.normal(size=(6, 4, 4, 5)).astype(np.float32)
    deviations = maps.reshape(6, 16, 5).std(1, ddof=1)
    np.testing.assert_allclose(similarity_matrix(maps), by_hand(deviations), atol=1e-5)
    thin = maps[..., :3]
    np.testing.assert_allclose(similarity_matrix(thin), by_hand(thin.reshape(6, -1)), atol=1e-5)


def test_loss_compares_with_the_labels_matrix():
    features = RANDOM.normal(size=(8, 7)).astype(np.float32)
    batch = {"labels": jnp.asarray(LABELS)}
    gaps = (by_hand(features) - by_hand(np.eye(4)[LABELS])) ** 2
    found = similarity_matching(features, LABELS, 4, batch)
    np.testing.assert_allclose(found, gaps.mean(), rtol=1e-5)
    grouped = similarity_matching(features, LABELS, 4, batch, group=4)
    np.testing.assert_allclose(grouped, (gaps[:4, :4].mean() + gaps[4:, 4:].mean()) / 2, rtol=1e-5)
    w = np.array([2, 2, 0, 1, 1, 1, 1, 0.0], np.float32)
    weighted = similarity_matching(features, LABELS, 4, batch | {"weight": jnp.asarray(w)})
    np.testing.assert_allclose(weighted, (np.outer(w, w) * gaps).mean(), rtol=1e-5)


def test_objective_mixes_both_terms():
    features = RANDOM.normal(size=(8, 7)).astype(np.float32)
    logits = RANDOM.normal(size=(8, 4)).astype(np.float32)
    batch = {"labels": jnp.asarray(LABELS)}
    loss, metrics = predsim_loss(0.75)({"similarity": features, "logits": logits}, batch)
    expected = 0.75 * metrics["similarity"] + 0.25 * cross_entropy(jnp.asarray(logits), batch)[0]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["loss"] == loss


def test_a_constant_map_has_a_finite_gradient():
    maps = jnp.ones((4, 3, 3, 5))
    batch = {"labels": jnp.array([0, 1, 0, 1])}
    grad = jax.grad(lambda x: similarity_matching(x, batch["labels"], 2, batch))
    assert bool(jnp.isfinite(jax.jit(grad)(maps)).all())


def test_groups_that_do_not_divide_the_batch_are_refused():
    batch = {"labels": jnp.asarray(LABELS)}
    with pytest.raises(ValueError, match="a batch of 8 examples does not divide into groups of 3"):
        similarity_matching(jnp.ones((8, 2)), batch["labels"], 4, batch, group=3)
