"""A pretrained network whose inputs have changed: what the adaptor of `tpsgd.py` learns from.

The network is ResNet-20 for CIFAR-10 and stays as it is. Images reach it with other colours or
under noise, and a small head learns the classes from its pooled features.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import stack
from jaxlearn.data import Dataset, load
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.option_a_resnet import RESNET20, from_torch, option_a_resnet

FEATURES = 64
"""Channels of the last stage, averaged over all places."""
SHIFTS = ("cifar10", "cifar10-colour", "cifar10-noise")
"""The images as they are, with their channels exchanged, and under Gaussian noise."""
NOISE = 0.1
CHUNK = 500


def shifted(images: np.ndarray, shift: str, seed: int) -> np.ndarray:
    """Images in [0, 1], `[N, H, W, 3]`, after the shift.

    `"cifar10-colour"` shows red as green, green as blue and blue as red; `"cifar10-noise"` adds
    `N(0, 0.1^2)` to every value, always the same for a seed and a place, and cuts at 0 and 1.

    Raises:
        ValueError: for a shift that is none of `SHIFTS`.

    Example:
        >>> shifted(np.array([[[[0.1, 0.2, 0.3]]]]), "cifar10-colour", 0).ravel().tolist()
        [0.3, 0.1, 0.2]
    """
    if shift not in SHIFTS:
        raise ValueError(f"shift={shift!r} is none of {SHIFTS}")
    if shift == "cifar10-colour":
        return images[..., [2, 0, 1]]
    if shift == "cifar10-noise":
        noise = np.asarray(jax.random.normal(jax.random.key(seed), images.shape))
        return np.clip(images + NOISE * noise, 0, 1).astype(images.dtype)
    return images


@cache
def backbone() -> tuple[Callable[[Any], jax.Array], Callable[[Any], jax.Array]]:
    """`(images [N, 32, 32, 3] -> features [N, 64], features -> logits)` of the published network.

    Batch normalisation uses the published averages.
    """
    params, state = from_torch(resnet_weights(20))
    linear = params.pop(str(len(params) - 1))["Dense_0"]
    layers = stack(option_a_resnet(RESNET20))

    @jax.jit
    def features(images: Any) -> jax.Array:
        normal = (images - jnp.array(MEAN)) / jnp.array(STD)
        return layers.apply(params, state, normal)[0].mean((1, 2))

    return features, lambda rows: rows @ linear["kernel"] + linear["bias"]


@cache
def features_of(shift: str, train: int | None, test: int | None) -> Dataset:
    """CIFAR-10 after a shift as the pooled features of the frozen network, float32 `[N, 64]`.

    They are computed once: a frozen network gives the same for an image in every epoch.
    """
    data = load("cifar10", train=train, validation=0, test=test)

    def seen(part: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        images = shifted(part["inputs"], shift, seed)
        chunks = [images[i : i + CHUNK] for i in range(0, len(images), CHUNK)]
        rows = np.concatenate([np.asarray(backbone()[0](chunk)) for chunk in chunks])
        return part | {"inputs": rows}

    return data._replace(train=seen(data.train, 1), test=seen(data.test, 2))


def unadapted(data: Dataset) -> float:
    """Test accuracy in percent of the network's own classifier on these features."""
    named = backbone()[1](data.test["inputs"]).argmax(-1)
    return 100 * float((named == data.test["labels"]).mean())
