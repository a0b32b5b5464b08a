"""Time of a layer of quadratic neurons beside XLA's own products, as JSON lines.

::

    python -m jaxlearn_kernels.quadratic.bench [--quick]

One line per size, part and implementation: median milliseconds, the megabytes the layer has to move
at least and the rate that makes, temporaries of the compiled program, and the deviation from the
definition. ``picked`` is what the library takes on this device. ``--quick`` takes the first size
and three runs. Exit status 1: a deviation above the tolerance.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn_kernels.comparison import compared, report
from jaxlearn_kernels.quadratic import Branch, Branches, Implementation, quadratic
from jaxlearn_kernels.quadratic.shapes import BENCH, Shape

TOLERANCE = 1e-2  # products of float32 are rounded to fewer bits on accelerators
IMPLEMENTATIONS: dict[str, Implementation | None] = {"picked": None, "reference": "reference"}


def minimal_bytes(shape: Shape, itemsize: int, *, branches: int = 3, gradient: bool = False) -> int:
    """Bytes the fused layer moves: x, y and the parameters once.

    The gradient that computes r and g again reads x and the cotangent of y, and writes that of x;
    parameters are read, and their gradients written.

    >>> minimal_bytes(Shape("", 10, 2, 3), 4), minimal_bytes(Shape("", 10, 2, 3), 4, gradient=True)
    (308, 496)
    """
    parameters = branches * (shape.inputs + 1) * shape.outputs
    if gradient:
        return itemsize * (shape.rows * (2 * shape.inputs + shape.outputs) + 2 * parameters)
    return itemsize * (shape.rows * (shape.inputs + shape.outputs) + parameters)


def arguments_of(shape: Shape, dtype) -> tuple[jax.Array, Branches, jax.Array]:
    """x, all three branches and a cotangent of y."""
    keys = iter(jax.random.split(jax.random.key(0), 8))
    scale = shape.inputs**-0.5
    draw = lambda *size: jax.random.normal(next(keys), size, dtype)
    branch = lambda: Branch(scale * draw(shape.inputs, shape.outputs), draw(shape.outputs))
    x, dy = draw(shape.rows, shape.inputs), draw(shape.rows, shape.outputs)
    return x, Branches(branch(), branch(), branch()), dy


def layer(name: Implementation | None, x, branches, dy):
    """The layer; the cotangent is ignored."""
    return quadratic(x, *branches, implementation=name)


def gradient(name: Implementation | None, x, branches, dy, *, recompute: bool):
    """Gradients of x and of the branches."""
    run = lambda x, branches: quadratic(x, *branches, recompute=recompute, implementation=name)
    return jax.vjp(run, x, branches)[1](dy)


PARTS: dict[str, Callable] = {
    "layer": layer,
    "gradient": partial(gradient, recompute=False),
    "gradient, recomputed": partial(gradient, recompute=True),
}


def bench_part(part: str, shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """One row per implementation."""
    functions = {label: partial(PARTS[part], name) for label, name in IMPLEMENTATIONS.items()}
    moved = minimal_bytes(shape, 4, gradient=part != "layer")
    for row in compared(functions, arguments_of(shape, jnp.float32), runs, moved):
        yield {"part": part, "size": shape.name} | row


def main(arguments: list[str]) -> int:
    """Print the rows; 0, or 1 if a result deviates from the reference."""
    shapes, runs = (BENCH[:1], 3) if "--quick" in arguments else (BENCH, 10)
    return report(
        (row for shape in shapes for part in PARTS for row in bench_part(part, shape, runs)),
        TOLERANCE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
