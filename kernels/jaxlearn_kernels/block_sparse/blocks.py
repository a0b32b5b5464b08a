"""Which blocks of a kernel are there: masks of blocks and the lists that loops walk."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Lists(NamedTuple):
    """For each line of a mask of blocks the places of its blocks, those that are there first.

    Attributes:
      counts: ``[lines]``, how many are there.
      places: ``[lines, width]``, ascending; beyond the count the last one repeats, so that a
        pipeline which fetches by place has nothing new to fetch.
    """

    counts: jax.Array
    places: jax.Array


def lists(mask: jax.Array) -> Lists:
    """The lists of the rows of a mask ``[lines, width]``.

    >>> lists(jnp.array([[False, True, True], [False, False, False]]))._asdict()
    {'counts': Array([2, 0], dtype=int32), 'places': Array([[1, 2, 2],
           [0, 0, 0]], dtype=int32)}
    """
    counts = mask.sum(1, dtype=jnp.int32)
    order = jnp.argsort(~mask, axis=1, stable=True).astype(jnp.int32)
    width = jnp.arange(mask.shape[1], dtype=jnp.int32)
    last = jnp.minimum(width[None], jnp.maximum(counts - 1, 0)[:, None])
    places = jnp.take_along_axis(order, last, 1)
    return Lists(counts, places)


def block_mask(mask: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Whether anything is left in each block: ``[n, m]`` to ``[n / b_n, m / b_m]``.

    Args:
      mask: ``[n, m]``, boolean, or numbers of which zero is absent.
      shape: ``(b_n, b_m)`` of a block.

    Raises:
      ValueError: the blocks do not divide the mask.

    >>> block_mask(jnp.eye(4), (2, 2)).tolist()
    [[True, False], [False, True]]
    """
    (n, m), (rows, columns) = mask.shape, shape
    if min(shape) < 1 or n % rows or m % columns:
        raise ValueError(f"blocks of {shape} do not divide a mask of {mask.shape}")
    parts = (mask != 0).reshape(n // rows, rows, m // columns, columns)
    return parts.any((1, 3))


def expanded(mask: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The mask of blocks as one of entries ``[n, m]``.

    >>> expanded(jnp.array([[True, False]]), (1, 4)).tolist()
    [[True, True, False, False]]
    """
    rows, columns = shape[0] // mask.shape[0], shape[1] // mask.shape[1]
    return jnp.repeat(jnp.repeat(mask, rows, 0), columns, 1)
