"""How far an array is from what it should be, counting a bias ten times."""

import numpy as np

MANY = 100
"""Fewer numbers have no mean to speak of."""


def residual(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, or ten times the mean of all where that is more.

    Rounding errs to both sides, so the mean of many errors is far below the largest; a term that
    was left out shows in the mean first.
    """
    error = np.asarray(found, np.float64) - np.asarray(expected, np.float64)
    bias = abs(error.mean()) if error.size >= MANY else 0.0
    return max(np.abs(error).max(initial=0.0), 10 * bias)
