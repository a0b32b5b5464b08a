"""CIFAR-10 images as a trained network sees them, and what its own linear layer says of them."""

from functools import cache
from typing import NamedTuple

import numpy as np

from experiments.parts.frozen_resnet20 import features_of_images, frozen_resnet20
from jaxlearn.data import load


class Seen(NamedTuple):
    """Images at the end of a network.

    Attributes:
        features: the last stage, averaged over places, `[N, 64]`.
        labels: `[N]`.
        logits: of the network's own linear layer, `[N, 10]`.
    """

    features: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


@cache
def seen_by_resnet20(images: int) -> Seen:
    """So many test images, none of which the published ResNet-20 was trained on."""
    test = load("cifar10", train=1, validation=0, test=images).test
    features = features_of_images(test["inputs"])
    logits = np.asarray(frozen_resnet20()[1](features))
    return Seen(features, test["labels"].astype(np.int32), logits)
