"""The problems of GBNN's rows: tables, folds, what is measured; `config` is `gbnn.Config`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.parts.gbnn_features import seen_by_resnet20
from jaxlearn.data.uci import (
    CLASSIFICATION,
    folds,
    standardised,
    uci_classification,
    uci_regression,
)
from jaxlearn.objectives.boosting import (
    BoostingLoss,
    binary_logistic,
    softmax_cross_entropy,
    squared_error,
)

SKLEARN = ("breast-cancer", "diabetes", "digits", "iris", "wine")
COUNTS = ("abalone",)
"""Tables whose classes are counts, taken as values."""
IMAGES = "cifar10"
"""As features of a trained ResNet-20."""


class Problem(NamedTuple):
    """Folds of one table; every leaf has them on axis 0.

    Attributes:
        x: standardised inputs by part.
        y: targets in the coding of the loss, by part.
        scale: deviation of the training targets, 1 for classes.
        head: where the inputs are features of a trained network, its own scores of the test part.
    """

    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    scale: np.ndarray
    head: np.ndarray | None = None


def table(name: str, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets (float values or integer classes), at most `limit` evenly spaced rows."""
    if name in SKLEARN:
        from sklearn import datasets

        found = getattr(datasets, f"load_{name.replace('-', '_')}")
        x, t = map(np.asarray, found(return_X_y=True))
        t = t.astype(np.float32 if name == "diabetes" else np.int32)
    elif name == IMAGES:
        x, t, _ = seen_by_resnet20(limit)
    else:
        read = uci_classification if name in CLASSIFICATION else uci_regression
        found = read(name)
        x, t = found.inputs, found.targets
        if name in COUNTS:
            t = np.array(found.classes, np.float32)[t]
    chosen = np.linspace(0, len(t) - 1, min(limit, len(t))).astype(int)
    return np.asarray(x, np.float64)[chosen], t[chosen]


def loss_of(targets: np.ndarray) -> BoostingLoss:
    """Squared error, binary or K-class, by the targets."""
    if targets.dtype.kind == "f":
        return squared_error()
    return binary_logistic() if targets.max() == 1 else softmax_cross_entropy()


def problem(config: Any, seeds: Sequence[int]) -> tuple[Problem, BoostingLoss]:
    """All folds of all seeds, scaled by their own training parts."""
    x, t = table(config.dataset, config.limit)
    logits = seen_by_resnet20(config.limit).logits if config.dataset == IMAGES else None
    made = []
    for seed in seeds:
        for split in folds(t, config.folds, seed)[: config.used]:
            parts = dict(zip(split._fields, split, strict=True))
            scaled = standardised(*(x[rows] for rows in parts.values()))
            scale, y = _coded(t, split.train)
            targets = {name: y[rows] for name, rows in parts.items()}
            inputs = dict(zip(parts, scaled, strict=True))
            head = None if logits is None else logits[split.test]
            made.append(Problem(inputs, targets, np.asarray(scale), head))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *made), loss_of(t)


def _coded(t: np.ndarray, train: np.ndarray) -> tuple[np.floating, np.ndarray]:
    if t.dtype.kind == "f":
        mean, std = t[train].mean(), t[train].std()
        return np.float32(std), ((t - mean) / std)[:, None].astype(np.float32)
    if t.max() == 1:
        return np.float32(1), (2.0 * t - 1)[:, None].astype(np.float32)
    return np.float32(1), np.eye(t.max() + 1, dtype=np.float32)[t]


def error(F: np.ndarray, y: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Wrong answers in percent, or the root mean squared error for values; `[..., N, K]`."""
    if y.shape[-1] > 1:
        return 100 * (F.argmax(-1) != y.argmax(-1)).mean(-1)
    if set(np.unique(y)) == {-1.0, 1.0}:
        return 100 * ((F[..., 0] > 0) != (y[..., 0] > 0)).mean(-1)
    return scale * np.sqrt(((F - y)[..., 0] ** 2).mean(-1))
