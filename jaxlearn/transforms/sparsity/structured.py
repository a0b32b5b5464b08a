"""Masks with a pattern that hardware can use: N of M, blocks and channels."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def n_of_m(score: jax.Array, n: int, m: int, axis: int = 0) -> jax.Array:
    """The `n` largest scores of every `m` consecutive entries along an axis.

    2 of 4 along the inputs is the pattern of sparse tensor cores (Mishra et al., "Accelerating
    sparse deep neural networks", arXiv 2104.08378). Equal scores go by index.

    Args:
        score: of one leaf.
        n: entries kept in every group.
        m: the length of a group.
        axis: along which groups lie; the inputs of a `[inputs, outputs]` weight are axis 0.

    Raises:
        ValueError: when the groups do not fill the axis, or n is not in 0..m.

    Example:
        >>> n_of_m(jnp.array([1.0, 4.0, 3.0, 2.0]), 2, 4)
        Array([False,  True,  True, False], dtype=bool)
    """
    length = score.shape[axis]
    if m < 1 or length % m or not 0 <= n <= m:
        raise ValueError(
            f"{n} of {m} does not fit an axis of {length}: pick a divisor m and n <= m"
        )
    groups = jnp.moveaxis(score, axis, -1)
    groups = groups.reshape(*groups.shape[:-1], length // m, m)
    order = jnp.argsort(-groups, axis=-1, stable=True)
    mask = jnp.argsort(order, axis=-1, stable=True) < n
    return jnp.moveaxis(mask.reshape(*mask.shape[:-2], length), -1, axis)


def block_scores(score: jax.Array, block: Sequence[int]) -> jax.Array:
    """The mean score of every block, to choose blocks by with `largest` or `keep`.

    A channel is a block: `(3, 3, inputs, 1)` for one output channel of a 3 x 3 convolution.

    Args:
        score: of one leaf.
        block: its extent on every axis.

    Raises:
        ValueError: when blocks do not tile the leaf.

    Example:
        >>> block_scores(jnp.arange(8.0).reshape(2, 4), (2, 2))
        Array([[2.5, 4.5]], dtype=float32)
    """
    grid = _grid(score.shape, block)
    parts = [size for pair in zip(grid, block, strict=True) for size in pair]
    return score.reshape(parts).mean(tuple(range(1, 2 * len(block), 2)))


def spread(mask: jax.Array, block: Sequence[int]) -> jax.Array:
    """A mask of blocks as one of entries; the inverse of `block_scores` for masks.

    Example:
        >>> spread(jnp.array([[True, False]]), (2, 1))
        Array([[ True, False],
               [ True, False]], dtype=bool)
    """
    for axis, extent in enumerate(block):
        mask = jnp.repeat(mask, extent, axis)
    return mask


def channel(shape: Sequence[int], axis: int = -1) -> tuple[int, ...]:
    """The block that is one channel: everything but one index of an axis.

    Example:
        >>> channel((3, 3, 8, 16))
        (3, 3, 8, 1)
    """
    return tuple(1 if i == axis % len(shape) else size for i, size in enumerate(shape))


def _grid(shape: Sequence[int], block: Sequence[int]) -> list[int]:
    if len(shape) != len(block) or math.prod(block) < 1:
        raise ValueError(f"a block of {tuple(block)} for a leaf of shape {tuple(shape)}")
    if any(size % extent for size, extent in zip(shape, block, strict=True)):
        raise ValueError(f"blocks of {tuple(block)} do not tile a leaf of shape {tuple(shape)}")
    return [size // extent for size, extent in zip(shape, block, strict=True)]
