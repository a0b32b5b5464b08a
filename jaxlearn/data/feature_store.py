"""Frozen features of the examples of a data set, found by the examples' positions."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxlearn.data.batches import Batches


def with_features(
    whole: Batches, features: Mapping[str, np.ndarray], context: Mapping[str, Any] | None = None
) -> Batches:
    """Add to every batch the rows of its examples: `batch[name] = features[name][batch["index"]]`.

    Args:
        whole: batches with `"index"`.
        features: `[examples, ...]` by the name they get in the batch.
        context: arrays that all examples share, added under `"context"`.

    Raises:
        ValueError: when the features have different numbers of rows, or an index points behind.

    Example:
        >>> from jaxlearn.data.batches import batches
        >>> stream = batches({"inputs": np.arange(4)}, 2, seed=0)
        >>> batch = with_features(stream, {"old": 10 * np.arange(4)})(0)
        >>> bool((batch["old"] == 10 * batch["inputs"]).all())
        True
    """
    sizes = {name: len(rows) for name, rows in features.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"features need a row per example each, found {sizes}")

    def at(step: int) -> dict[str, Any]:
        batch = whole(step)
        index = np.asarray(batch["index"])
        if sizes and index.max(initial=0) >= next(iter(sizes.values())):
            raise ValueError(
                f"example {index.max()} has no features; there are {next(iter(sizes.values()))}"
            )
        rows = {name: np.asarray(rows)[index] for name, rows in features.items()}
        shared = {"context": dict(context)} if context else {}
        return batch | rows | shared

    return Batches(at, whole.batch_size, whole.steps_per_epoch)


def class_means(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """`[classes, d]`: row c is the mean of the features whose label is c; not normalised.

    Raises:
        ValueError: when a class has no example.

    Example:
        >>> class_means(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 1]), 2).tolist()
        [[2.0], [5.0]]
    """
    counts = np.bincount(labels, minlength=classes)
    if len(counts) > classes or not counts.all():
        raise ValueError(f"every one of {classes} classes needs examples, found {counts.tolist()}")
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, np.asarray(features, np.float64))
    return (sums / counts[:, None]).astype(features.dtype)
