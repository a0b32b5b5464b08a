"""Time of a block-sparse layer against the share of blocks that are there, as JSON lines.

::

    python -m jaxlearn_kernels.block_sparse.bench [--quick]

One line per size, share and implementation: median milliseconds of the layer with both gradients,
the time of the dense product over it, its products in 10^9, and the deviation from the definition.
``picked`` is what the library takes on this device. ``--quick`` takes the first size and three
runs. Exit status 1: a deviation above the tolerance.
"""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn_kernels.block_sparse import Implementation, block_sparse_matmul
from jaxlearn_kernels.block_sparse.shapes import BENCH, Shape
from jaxlearn_kernels.comparison import compared, report

TOLERANCE = 1e-2  # products of float32 are rounded to fewer bits on accelerators
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05)
IMPLEMENTATIONS: dict[str, Implementation | None] = {"picked": None, "reference": "reference"}


def arguments_of(shape: Shape, share: float, dtype) -> tuple[jax.Array, ...]:
    """x, w, a mask with exactly so many blocks, and a cotangent of y."""
    keys = jax.random.split(jax.random.key(0), 4)
    n, m = shape.high * shape.block[0], shape.wide * shape.block[1]
    blocks = shape.high * shape.wide
    mask = jnp.arange(blocks) < round(share * blocks)
    mask = jax.random.permutation(keys[3], mask).reshape(shape.high, shape.wide)
    draw = lambda key, *size: jax.random.normal(key, size, dtype)
    w = draw(keys[1], n, m) * n**-0.5
    return draw(keys[0], shape.rows, n), w, mask, draw(keys[2], shape.rows, m)


def products(shape: Shape, mask: jax.Array) -> int:
    """Multiplications and additions of the layer and both gradients.

    >>> products(Shape("", 10, 2, 2, (3, 4)), jnp.array([[True, False], [False, False]]))
    720
    """
    return 6 * shape.rows * shape.block[0] * shape.block[1] * int(mask.sum())


def whole(name: Implementation | None, x, w, mask, dy):
    """The layer and both gradients."""
    run = lambda x, w: block_sparse_matmul(x, w, mask, implementation=name)
    y, pull = jax.vjp(run, x, w)
    return y, *pull(dy)


def bench_share(shape: Shape, share: float, runs: int) -> Iterator[dict[str, Any]]:
    """One row per implementation."""
    arguments = arguments_of(shape, share, jnp.float32)
    functions = {label: partial(whole, name) for label, name in IMPLEMENTATIONS.items()}
    own = {"size": shape.name, "share": share, "gigaflop": products(shape, arguments[2]) / 1e9}
    for row in compared(functions, arguments, runs):
        yield own | row


def main(arguments: list[str]) -> int:
    """Print the rows; 0, or 1 if a result deviates from the reference."""
    shapes, runs = (BENCH[:1], 3) if "--quick" in arguments else (BENCH, 10)
    return report(
        (row for shape in shapes for share in SHARES for row in bench_share(shape, share, runs)),
        TOLERANCE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
