"""CIFAR-10 images as a trained network sees them, and what its own linear layer says of them."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import Params, State, stack
from jaxlearn.data import load
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.option_a_resnet import RESNET20, from_torch, option_a_resnet

PIECE = 100


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
    params, state = from_torch(resnet_weights(20), RESNET20)
    inputs = (test["inputs"] - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    look = jax.jit(_features)
    pieces = np.split(inputs, range(PIECE, len(inputs), PIECE))
    features = np.concatenate([np.asarray(look(params, state, piece)) for piece in pieces])
    linear = {name: np.asarray(leaf) for name, leaf in params[_END]["Dense_0"].items()}
    logits = features @ linear["kernel"] + linear["bias"]
    return Seen(features, test["labels"].astype(np.int32), logits)


_BODY = option_a_resnet(RESNET20)
_END = str(len(_BODY))
"""Name of the classifier among the parameters."""


def _features(params: Params, state: State, x: jax.Array) -> jax.Array:
    body = stack(_BODY)
    own = {name: leaf for name, leaf in params.items() if name != _END}
    return jnp.mean(body.apply(own, state, x)[0], (1, 2))
