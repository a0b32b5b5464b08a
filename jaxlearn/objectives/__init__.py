"""Losses: `objective(outputs, batch) -> (loss, metrics)`, means over the examples."""

from jaxlearn.objectives.classification import (
    accuracy,
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

__all__ = [
    "LayerTask",
    "accuracy",
    "contrast_loss",
    "cosine_goodness",
    "cross_entropy",
    "cross_entropy_with_mse",
    "direction",
    "forward_forward_loss",
    "goodness",
    "infopro_loss",
    "link_cross_entropy",
    "link_forward_forward",
    "mixed_cross_entropy",
    "per_step",
    "predsim_loss",
    "ranking",
    "reconstruction",
    "restored",
    "similarity_matching",
    "supervised_contrastive",
    "weighted_mean",
]
