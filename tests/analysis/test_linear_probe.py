import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxlearn.analysis.hidden import hidden_outputs
from jaxlearn.analysis.linear_probe import linear_probe
from jaxlearn.core import stack
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 60)
FEATURES = (RANDOM.normal(size=(60, 2, 2)) + LABELS[:, None, None] * [[1, 0], [0, 2]]).astype(
    np.float32
)


def test_probe_is_the_minimum_that_another_solver_finds():
    l2 = 0.01
    probe = linear_probe(FEATURES, jnp.asarray(LABELS), 3, l2=l2)
    flat = FEATURES.reshape(60, 4).astype(np.float64)
    scaled = (flat - flat.mean(0)) / flat.std(0)
    other = LogisticRegression(C=1 / (60 * l2), tol=1e-8, max_iter=1000).fit(scaled, LABELS)
    np.testing.assert_allclose(probe.weights.T, other.coef_, atol=2e-3)
    agree = probe.logits(FEATURES).argmax(-1) == other.predict(scaled)
    assert bool(agree.all())
    found = float(probe.accuracy(FEATURES, jnp.asarray(LABELS)))
    assert found == pytest.approx(other.score(scaled, LABELS))


def test_constant_features_are_ignored_and_missing_rows_refused():
    padded = np.concatenate([FEATURES.reshape(60, 4), np.full((60, 1), 5.0)], 1)
    probe = linear_probe(padded, jnp.asarray(LABELS), 3, steps=5)
    assert bool(jnp.isfinite(probe.logits(padded)).all())
    np.testing.assert_array_equal(probe.weights[4], np.zeros(3))
    with pytest.raises(ValueError, match="found 60 rows of features and 59 labels"):
        linear_probe(FEATURES, jnp.asarray(LABELS[1:]), 3)


def test_hidden_outputs_are_the_stacks_own():
    layers, x = [*tiny_blocks(), tiny_head()], tiny_batch(8)["inputs"]
    params, state = stack(layers).init(jax.random.key(0), x)
    found = hidden_outputs(layers, params, state, x)
    np.testing.assert_array_equal(found[-1], stack(layers).apply(params, state, x)[0])
    dense = params["0"]["Dense_0"]
    expected = np.maximum(np.asarray(x) @ dense["kernel"] + dense["bias"], 0)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
