"""Losses: `objective(outputs, batch) -> (loss, metrics)`, means over the examples."""

from jaxlearn.objectives.classification import (
    accuracy,
    cross_entropy,
    cross_entropy_with_mse,
    per_step,
    weighted_mean,
)

__all__ = ["accuracy", "cross_entropy", "cross_entropy_with_mse", "per_step", "weighted_mean"]
