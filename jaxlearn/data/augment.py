"""Random image transformations in JAX, one image at a time, keyed by example.

Every transformation is a function `(key, image [H, W, C]) -> image`. `augment` gives each example
the key `fold_in(key, index)`: the result depends on the step's key and the example alone, not on
its place in the batch, the number of devices or the microbatches.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Transform = Callable[[jax.Array, jax.Array], jax.Array]


def random_crop(pad: int, mode: str = "reflect") -> Transform:
    """Pad by `pad` pixels on each side ("reflect" or "zero"), cut the old size at a random place.

    Each of the (2 pad + 1)^2 places is equally likely.
    """
    modes = {"reflect": "reflect", "zero": "constant"}
    if mode not in modes:
        raise ValueError(f'mode={mode!r}; it is "reflect" or "zero"')
    if pad < 0:
        raise ValueError(f"pad={pad}; it cannot be negative")

    def crop(key: jax.Array, image: jax.Array) -> jax.Array:
        wide = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode=modes[mode])
        top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
        return jax.lax.dynamic_slice(wide, (top, left, jnp.zeros_like(top)), image.shape)

    return crop


def random_shift(share: float, fill: float = 0.0) -> Transform:
    """Move by up to `share` of the size, up or down and left or right, in whole pixels.

    Each distance is `round(u)`, u uniform in `±share * size`, so that a share below half a pixel
    moves nothing; `fill` comes in at the border.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share={share}; it is a part of the size, at least 0 and below 1")

    def shift(key: jax.Array, image: jax.Array) -> jax.Array:
        sizes = image.shape[:2]
        most = [round(share * size) for size in sizes]
        wide = jnp.pad(
            image, [(m, m) for m in most] + [(0, 0)], constant_values=jnp.asarray(fill, image.dtype)
        )
        reach = share * jnp.array(sizes, jnp.float32)
        moved = jnp.round(jax.random.uniform(key, (2,), minval=-reach, maxval=reach))
        top, left = jnp.array(most) + moved.astype(jnp.int32)
        return jax.lax.dynamic_slice(wide, (top, left, jnp.zeros_like(top)), image.shape)

    return shift


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirror left and right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def cutout(size: int) -> Transform:
    """Set a `size` x `size` square to zero (DeVries and Taylor 2017, arXiv 1708.04552).

    Its centre is uniform over the pixels, so that near the border a part of it lies outside:
    rows cy - size//2 <= y < cy - size//2 + size, columns alike.
    """
    if size < 1:
        raise ValueError(f"size={size}; it has to be at least 1")

    def cut(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, _ = image.shape
        centre = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
        top, left = centre - size // 2
        y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]
        inside = (y >= top) & (y < top + size) & (x >= left) & (x < left + size)
        return jnp.where(inside[..., None], jnp.zeros((), image.dtype), image)

    return cut


def normalize(mean: Sequence[float | int], std: Sequence[float | int]) -> Transform:
    """(image - mean) / std per channel in float32; mean and std in the image's own unit.

    >>> normalize([0.5], [0.25])(jax.random.key(0), jnp.ones((1, 1, 1))).item()
    2.0
    """
    if len(mean) != len(std) or min(std) <= 0:
        raise ValueError(f"mean {tuple(mean)} and std {tuple(std)}: equal lengths, std above 0")

    def scale(key: jax.Array, image: jax.Array) -> jax.Array:
        centre, width = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
        return (image.astype(jnp.float32) - centre) / width

    return scale


def compose(*transforms: Transform) -> Transform:
    """The transformations one after the other, transformation i with the key `fold_in(key, i)`."""

    def composed(key: jax.Array, image: jax.Array) -> jax.Array:
        for i, transform in enumerate(transforms):
            image = transform(jax.random.fold_in(key, i), image)
        return image

    return composed


def augment(batch: dict[str, Any], key: jax.Array, transform: Transform) -> dict[str, Any]:
    """The batch with `transform` applied to each of its "inputs" [B, H, W, C], keyed by "index".

    >>> batch = {"inputs": jnp.ones((2, 4, 4, 1)), "index": jnp.array([5, 9])}
    >>> augment(batch, jax.random.key(0), random_flip)["inputs"].shape
    (2, 4, 4, 1)
    """
    if "index" not in batch:
        raise ValueError(
            'augment needs batch["index"], the position of each example in its dataset'
        )
    if batch["inputs"].ndim != 4:
        raise ValueError(
            f"augment takes inputs [B, H, W, C], found shape {tuple(batch['inputs'].shape)}"
        )
    keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(jnp.asarray(batch["index"]))
    return {**batch, "inputs": jax.vmap(transform)(keys, jnp.asarray(batch["inputs"]))}
