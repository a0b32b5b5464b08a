"""Features that follow their examples through shuffling."""

import numpy as np
import pytest

from jaxlearn.data.batches import batches
from jaxlearn.data.feature_store import class_means, with_features


def test_features_follow_the_index_through_every_epoch():
    inputs = np.arange(10.0)
    stream = with_features(
        batches({"inputs": inputs}, 5, seed=0),
        {"old": inputs[:, None] * [1, 2], "reference": -inputs},
        {"prototypes": np.eye(2)},
    )
    for step in range(6):
        batch = stream(step)
        np.testing.assert_array_equal(batch["old"], batch["inputs"][:, None] * [1, 2])
        np.testing.assert_array_equal(batch["reference"], -batch["inputs"])
        np.testing.assert_array_equal(batch["context"]["prototypes"], np.eye(2))
    assert stream.steps_per_epoch == 2


def test_a_prototype_is_the_mean_of_its_class():
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(60, 4)), draw.permutation(np.arange(60) % 5)
    means = class_means(features, labels, 5)
    for c in range(5):
        np.testing.assert_allclose(means[c], features[labels == c].mean(0), atol=1e-5)


def test_missing_rows_and_classes_are_refused():
    stream = batches({"inputs": np.arange(4)}, 4, seed=0)
    with pytest.raises(ValueError, match="row per example"):
        with_features(stream, {"a": np.zeros(4), "b": np.zeros(3)})
    with pytest.raises(ValueError, match="no features"):
        with_features(stream, {"a": np.zeros(3)})(0)
    with pytest.raises(ValueError, match="needs examples"):
        class_means(np.zeros((3, 2)), np.array([0, 0, 2]), 3)
