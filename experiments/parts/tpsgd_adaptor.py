"""A pretrained network whose inputs have changed: what the adaptor of `tpsgd.py` learns from.

The network is ResNet-20 for CIFAR-10 and stays as it is. Images reach it with other colours or
under noise, and a small head learns the classes from its pooled features.
"""

from functools import cache

import jax
import numpy as np

from experiments.parts.frozen_resnet20 import features_of_images, frozen_resnet20
from jaxlearn.data import Dataset, load

SHIFTS = ("cifar10", "cifar10-colour", "cifar10-noise")
"""The images as they are, with their channels exchanged, and under Gaussian noise."""
NOISE = 0.1


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
def features_of(shift: str, train: int | None, test: int | None) -> Dataset:
    """CIFAR-10 after a shift as the pooled features of the frozen network, float32 `[N, 64]`.

    They are computed once: a frozen network gives the same for an image in every epoch.
    """
    data = load("cifar10", train=train, validation=0, test=test)

    def seen(part: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        return part | {"inputs": features_of_images(shifted(part["inputs"], shift, seed))}

    return data._replace(train=seen(data.train, 1), test=seen(data.test, 2))


def unadapted(data: Dataset) -> float:
    """Test accuracy in percent of the network's own classifier on these features."""
    named = frozen_resnet20()[1](data.test["inputs"]).argmax(-1)
    return 100 * float((named == data.test["labels"]).mean())
