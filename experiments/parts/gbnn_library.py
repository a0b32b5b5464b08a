"""What a boosted network is seen beside: a linear model and boosted trees, from scikit-learn."""

from collections.abc import Callable
from typing import Any

import numpy as np

Fit = Callable[[int], list[Any]]
"""From a fold's number to the estimators among which its validation part chooses."""


def linear(classes: bool) -> Fit:
    """Ridge or logistic regression with four penalties."""
    from sklearn.linear_model import LogisticRegression, Ridge

    penalties = (1e-3, 1e-1, 1e1, 1e3)
    if classes:
        return lambda fold: [LogisticRegression(C=1 / p, max_iter=2000) for p in penalties]
    return lambda fold: [Ridge(alpha=p) for p in penalties]


def trees(classes: bool) -> Fit:
    """Gradient boosted trees with three learning rates."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return lambda fold: [kind(learning_rate=rate, random_state=fold) for rate in (0.03, 0.1, 0.3)]


def scores(fit: Fit, x: dict[str, np.ndarray], y: dict[str, np.ndarray], error: Any) -> np.ndarray:
    """Test error of the best estimator by validation, per fold.

    Args:
        fit: the estimators.
        x, y: parts with folds on axis 0, targets coded as for boosting.
        error: `error(outputs, y) -> value` of one fold.
    """
    found = []
    for fold in range(len(x["train"])):
        targets = _plain(y["train"][fold])
        made = [one.fit(x["train"][fold], targets) for one in fit(fold)]
        outputs = {
            part: [_coded(one.predict(x[part][fold]), y[part][fold]) for one in made]
            for part in ("validation", "test")
        }
        held = [error(F, y["validation"][fold]) for F in outputs["validation"]]
        found.append(error(outputs["test"][int(np.argmin(held))], y["test"][fold]))
    return np.array(found)


def _plain(y: np.ndarray) -> np.ndarray:
    """One value or class per row."""
    return y.argmax(-1) if y.shape[-1] > 1 else y[:, 0]


def _coded(predicted: np.ndarray, like: np.ndarray) -> np.ndarray:
    classes = like.shape[-1]
    return np.eye(classes)[predicted] if classes > 1 else predicted[:, None]
