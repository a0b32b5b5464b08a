"""Losses: `objective(outputs, batch) -> (loss, metrics)`, means over the examples."""

from jaxlearn.objectives.classification import (
    accuracy,
    correct,
    cross_entropy,
    cross_entropy_with_mse,
    mixed_cross_entropy,
    per_step,
    weighted_mean,
)
from jaxlearn.objectives.contrastive import supervised_contrastive
from jaxlearn.objectives.cosine_goodness import contrast_loss, cosine_goodness, direction
from jaxlearn.objectives.goodness import forward_forward_loss, goodness
from jaxlearn.objectives.layer_task import LayerTask
from jaxlearn.objectives.links import link_cross_entropy, link_forward_forward, ranking
from jaxlearn.objectives.reconstruction import infopro_loss, reconstruction, restored
from jaxlearn.objectives.similarity_matching import predsim_loss, similarity_matching
from jaxlearn.objectives.soft_targets import (
    distillation,
    label_smoothing,
    remembered,
    soft_cross_entropy,
    softened_kl,
)

__all__ = [
    "LayerTask",
    "accuracy",
    "contrast_loss",
    "correct",
    "cosine_goodness",
    "cross_entropy",
    "cross_entropy_with_mse",
    "direction",
    "distillation",
    "forward_forward_loss",
    "goodness",
    "infopro_loss",
    "label_smoothing",
    "link_cross_entropy",
    "link_forward_forward",
    "mixed_cross_entropy",
    "per_step",
    "predsim_loss",
    "ranking",
    "reconstruction",
    "remembered",
    "restored",
    "similarity_matching",
    "soft_cross_entropy",
    "softened_kl",
    "supervised_contrastive",
    "weighted_mean",
]
