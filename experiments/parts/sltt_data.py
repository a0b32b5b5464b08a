"""What the spiking networks of SLTT's table are shown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import Batch
from jaxlearn.data import Dataset, load
from jaxlearn.data.cifar10 import MEAN, STD


class Kind(NamedTuple):
    """What a data set's examples look like.

    shape: of one step's input. classes: of labels. networks: which take it.
    timed: frames on axis 1 instead of one image shown at every step.
    """

    shape: tuple[int, ...]
    classes: int
    networks: tuple[str, ...]
    timed: bool = False


DATA = {
    "digits": Kind((8, 8, 1), 10, ("mlp",)),
    "cifar10": Kind((32, 32, 3), 10, ("mlp", "cnn", "resnet18")),
    "spoken_digits": Kind((40,), 10, ("mlp",), timed=True),
    "n_mnist": Kind((34, 34, 2), 10, ("cnn", "vgg11"), timed=True),
    "cifar10_dvs": Kind((48, 48, 2), 10, ("vgg11",), timed=True),
    "dvs_gesture": Kind((128, 128, 2), 11, ("vgg11",), timed=True),
    "imagenet": Kind((224, 224, 3), 1000, ("nf_resnet34",)),
}


def data_of(config: Any) -> Dataset:
    """The images, CIFAR-10 as bytes."""
    options: dict[str, Any] = {"as_float": False} if config.dataset == "cifar10" else {}
    if config.dataset == "spoken_digits":
        options = {"frames": config.T}
    elif DATA[config.dataset].timed:
        options = {"T": config.T}
    return load(config.dataset, train=config.train, test=config.test, **options)


def normalised(config: Any, batch: Batch) -> Batch:
    """Bytes of CIFAR-10 to numbers of mean 0 and deviation 1 per channel, averaged down.

    Frames of CIFAR10-DVS go from 128 x 128 pixels to 48 x 48, as in the official script.
    """
    x, s = batch["inputs"], config.shrink
    if config.dataset == "cifar10":
        x = (x.astype(jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)
    if config.dataset == "cifar10_dvs":
        x = jax.image.resize(x, (*x.shape[:2], 48, 48, 2), "linear")
    if s > 1:
        size, height, width, channels = x.shape
        x = x.reshape(size, height // s, s, width // s, s, channels).mean((2, 4))
    return batch | {"inputs": x}
