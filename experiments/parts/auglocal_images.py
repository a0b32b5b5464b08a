"""The images of `auglocal.py`; `config` is `experiments.auglocal.Config`.

Like that file it imports JAX where it is used.
"""

from typing import Any


def read(config: Any) -> Any:
    """CIFAR-10 as bytes, or averaged over squares of pixels as floats from 0 to 255."""
    import numpy as np

    from jaxlearn.data import load

    data = load("cifar10", train=config.train, validation=0, test=config.test, as_float=False)
    if config.image == 32:
        return data

    def averaged(part: dict[str, Any]) -> dict[str, Any]:
        side = config.image
        cells = part["inputs"].reshape(-1, side, 32 // side, side, 32 // side, 3)
        return part | {"inputs": cells.mean((2, 4), dtype=np.float32)}

    return data._replace(train=averaged(data.train), test=averaged(data.test))


def over_images(rule: Any, config: Any) -> Any:
    """A rule for normalised images, cropped and flipped in training, over values 0 to 255."""
    from functools import partial

    from jaxlearn.core import prepared
    from jaxlearn.data.augment import augment, compose, random_crop, random_flip

    def normalise(batch: dict[str, Any]) -> dict[str, Any]:
        return batch | {"inputs": normalised(batch["inputs"])}

    move = partial(augment, transform=compose(random_crop(config.pad), random_flip))
    return prepared(rule, normalise, move)


def normalised(images: Any) -> Any:
    """Images of values 0 to 255 less the mean of their channels, over their deviation."""
    import jax.numpy as jnp

    from jaxlearn.data.cifar10 import MEAN, STD

    return (jnp.asarray(images, jnp.float32) / 255 - jnp.array(MEAN)) / jnp.array(STD)
