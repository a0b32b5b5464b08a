"""Convolutions on CPU as products of shifted inputs, a few examples at a time."""

from collections.abc import Callable

import jax
from jax import lax

SHIFTED = 1 << 18
"""Numbers of shifted inputs at a time: a megabyte, which stays in a cache."""
ROWS = 256
"""Rows a product has at least: the kernel's gradient is read and written once per product."""


def together(size: int, rows: int, row: int) -> int:
    """How many of `size` examples one product takes, a divisor of their number.

    Args:
        size: the batch.
        rows: of an example's product, the places of its output.
        row: numbers in one of them, taps times inputs.

    Example:
        >>> together(64, 92, 25 * 64), together(6, 1, 1)
        (2, 6)
    """
    most = max(1, max(ROWS, SHIFTED // row) // max(rows, 1))
    return next((n for n in range(min(most, size), 0, -1) if size % n == 0), size)


def in_pieces(product: Callable[[jax.Array], jax.Array], x: jax.Array, count: int) -> jax.Array:
    """`product(x)` for so many examples at a time.

    The shifted inputs are made again in the backward pass: what is kept is x, as everywhere.
    """
    size, product = len(x), jax.checkpoint(product)
    if count == size:
        return product(x)
    y = lax.map(product, x.reshape(size // count, count, *x.shape[1:]))
    return y.reshape(size, *y.shape[2:])
