"""The published ResNet-20 for CIFAR-10 as it is: what it sees of an image, and what it says."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import stack
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.option_a_resnet import RESNET20, from_torch, option_a_resnet

FEATURES = 64
"""Channels of the last stage, averaged over all places."""
CHUNK = 500


@cache
def frozen_resnet20() -> tuple[Callable[[Any], jax.Array], Callable[[Any], jax.Array]]:
    """`(images in [0, 1], [N, 32, 32, 3] -> features [N, 64], features -> logits [N, 10])`.

    Batch normalisation uses the published averages.

    Raises:
        MissingData: when the weights are not at hand.
    """
    params, state = from_torch(resnet_weights(20))
    linear = params.pop(str(len(params) - 1))["Dense_0"]
    layers = stack(option_a_resnet(RESNET20))

    @jax.jit
    def features(images: Any) -> jax.Array:
        normal = (images - jnp.array(MEAN)) / jnp.array(STD)
        return layers.apply(params, state, normal)[0].mean((1, 2))

    return features, lambda rows: rows @ linear["kernel"] + linear["bias"]


def features_of_images(images: np.ndarray) -> np.ndarray:
    """The features of many images, a chunk at a time: `[N, 64]`, float32."""
    look, _ = frozen_resnet20()
    chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
    return np.concatenate([np.asarray(look(chunk)) for chunk in chunks])
