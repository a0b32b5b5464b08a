"""What the spiking networks of SLTT's table are shown."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import Batch
from jaxlearn.data import Dataset, cifar10, cifar100, imagenet, load

Channels = tuple[float, ...]
RESNETS = ("nf_resnet34", "nf_resnet50", "nf_resnet101")


class Kind(NamedTuple):
    """What a data set's examples look like.

    shape: of one step's input. classes: of labels. networks: which take it.
    timed: frames on axis 1 instead of one image shown at every step.
    scale: of images in bytes, mean and deviation of each channel in [0, 1].
    """

    shape: tuple[int, ...]
    classes: int
    networks: tuple[str, ...]
    timed: bool = False
    scale: tuple[Channels, Channels] | None = None


FOR_COLOURS = ("mlp", "cnn", "resnet18")
DATA = {
    "digits": Kind((8, 8, 1), 10, ("mlp",)),
    "cifar10": Kind((32, 32, 3), 10, FOR_COLOURS, scale=(cifar10.MEAN, cifar10.STD)),
    "cifar100": Kind((32, 32, 3), 100, FOR_COLOURS, scale=(cifar100.MEAN, cifar100.STD)),
    "spoken_digits": Kind((40,), 10, ("mlp",), timed=True),
    "n_mnist": Kind((34, 34, 2), 10, ("cnn", "vgg11"), timed=True),
    "cifar10_dvs": Kind((48, 48, 2), 10, ("vgg11",), timed=True),
    "dvs_gesture": Kind((128, 128, 2), 11, ("vgg11",), timed=True),
    "imagenet": Kind((224, 224, 3), 1000, RESNETS, scale=(imagenet.MEAN, imagenet.STD)),
}


def check_images(config: Any) -> None:
    """Refuse sizes that the data set does not have, and a first stage on frames.

    Raises:
        ValueError: with what would do.
    """
    kind, shrink, lengths = DATA[config.dataset], config.shrink, config.lengths
    if kind.timed and (shrink != 1 or max(lengths) > config.T or config.first):
        raise ValueError(
            f"shrink={shrink}, lengths={lengths}, first={config.first!r}: {config.dataset} comes "
            f'as T={config.T} frames; take shrink=1, no length beyond T, and first=""'
        )
    if shrink < 1 or kind.shape[0] % shrink:
        raise ValueError(f"shrink={shrink} has to divide the {kind.shape[0]} pixels of a side")
    if config.network == "resnet18" and shrink > 1:
        raise ValueError(f"shrink={shrink}; resnet18 takes all 32 pixels of a side: shrink=1")


def data_of(config: Any) -> Dataset:
    """The images, those in colour as bytes; without a number to train on, all there are."""
    options: dict[str, Any] = {}
    if config.dataset.startswith("cifar") and not DATA[config.dataset].timed:
        options = {"as_float": False}
    if config.dataset == "spoken_digits":
        options = {"frames": config.T}
    elif DATA[config.dataset].timed:
        options = {"T": config.T}
    if config.train is None and config.dataset != "spoken_digits":
        options |= {"validation": 0}
    return load(config.dataset, train=config.train, test=config.test, **options)


def frames_of(config: Any, batch: Batch) -> Batch:
    """A batch for `config.T` steps: the first frames, or the images as they are."""
    if not DATA[config.dataset].timed:
        return batch
    return batch | {"inputs": batch["inputs"][:, : config.T]}


def input_of(config: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of one example as it is read."""
    kind = DATA[config.dataset]
    shape = (128, 128, 2) if config.dataset == "cifar10_dvs" else kind.shape
    return ((config.T, *shape) if kind.timed else shape), (
        jnp.float32 if kind.scale is None else jnp.uint8
    )


def normalised(config: Any, batch: Batch) -> Batch:
    """Bytes to numbers of mean 0 and deviation 1 per channel, averaged down.

    Frames of CIFAR10-DVS go from 128 x 128 pixels to 48 x 48, as in the official script.
    """
    x, s, scale = batch["inputs"], config.shrink, DATA[config.dataset].scale
    if scale is not None:
        x = (x.astype(jnp.float32) / 255 - jnp.array(scale[0])) / jnp.array(scale[1])
    if config.dataset == "cifar10_dvs":
        x = jax.image.resize(x, (*x.shape[:2], 48, 48, 2), "linear")
    if s > 1:
        size, height, width, channels = x.shape
        x = x.reshape(size, height // s, s, width // s, s, channels).mean((2, 4))
    return batch | {"inputs": x}
