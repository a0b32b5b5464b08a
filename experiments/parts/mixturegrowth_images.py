"""The images of MixtureGrowth's table, and how they are moved and normalised."""

from functools import cache
from typing import Any

import jax.numpy as jnp

from experiments.parts.abstract import labelled
from jaxlearn.core import Batch
from jaxlearn.data import Dataset, load
from jaxlearn.data.augment import Transform, augment, compose, cutout, random_crop, random_flip
from jaxlearn.data.moments import MOMENTS

SHAPES = {"digits": (8, 8, 1), "cifar10": (32, 32, 3)}


def shape_of(config: Any) -> tuple[int, int, int]:
    """Of a picture."""
    return (config.size, config.size, SHAPES[config.dataset][2])


def normalised(config: Any, batch: Batch) -> Batch:
    """Pictures with mean 0 and deviation 1 over the training images."""
    mean, std = MOMENTS.get(config.dataset, ((0.0,), (1.0,)))
    return batch | {"inputs": (batch["inputs"] - jnp.array(mean)) / jnp.array(std)}


def moves_of(config: Any) -> Any:
    """Crop, flip and cutout, whose square has the mean colour."""
    steps: list[Transform] = [random_crop(config.crop, "zero"), random_flip] if config.crop else []
    if config.cutout:
        mean = jnp.array(MOMENTS.get(config.dataset, ((0.0,),))[0])
        cut = cutout(config.cutout)
        steps.append(lambda key, image: mean + cut(key, image - mean))
    move = compose(*steps)
    return (lambda batch, key: augment(batch, key, move)) if steps else None


@cache
def read(dataset: str, size: int, **sizes: int | None) -> Dataset:
    """The images, averaged to `size` pixels; rows and seeds share them."""
    data = load(dataset, **sizes)

    def smaller(part: Batch) -> Batch:
        n, height, _, channels = part["inputs"].shape
        block = height // size
        x = part["inputs"].reshape(n, size, block, size, block, channels).mean((2, 4))
        return part | {"inputs": x}

    parts = {name: smaller(getattr(data, name)) for name in ("train", "validation", "test")}
    return data._replace(**parts)


def data_of(config: Any) -> Dataset:
    """The parts that a row sees."""
    sizes = {"train": config.train, "validation": config.validation, "test": config.test}
    return read(config.dataset, config.size, **sizes)


def blank(config: Any) -> Batch:
    """A batch of zeros."""
    shapes = labelled(config.batch, shape_of(config))
    return {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
