"""Time of the WKV recurrence beside XLA's scan, as JSON lines.

::

    python -m jaxlearn_kernels.wkv.bench [--quick]

One line per size, part and implementation: median milliseconds, the megabytes the recurrence has to
move at least and the rate that makes, temporaries of the compiled program, and the deviation from
the definition. ``picked`` is what the library takes on this device, ``reference`` the plain scan
and its derivative by JAX. ``--quick`` takes the first size and three runs. Exit status 1: a
deviation above the tolerance.
"""

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn_kernels.comparison import compared, report
from jaxlearn_kernels.wkv import Implementation, wkv
from jaxlearn_kernels.wkv.shapes import BENCH, Shape

TOLERANCE = 1e-4
IMPLEMENTATIONS: dict[str, Implementation | None] = {
    "picked": None,
    "scan": "scan",
    "reference": "reference",
}


def minimal_bytes(shape: Shape, itemsize: int, *, gradient: bool) -> int:
    """Bytes the recurrence moves: k, v and y once, and with gradient what the two passes hand on.

    That is log D in float32, written and read; k, v, y and the cotangent of y, read backward; and
    the cotangents of k and v, written.

    >>> shape = Shape("", 10, (), 1)
    >>> minimal_bytes(shape, 4, gradient=False), minimal_bytes(shape, 4, gradient=True)
    (120, 440)
    """
    elements = math.prod(shape.full)
    return elements * (9 * itemsize + 8 if gradient else 3 * itemsize)


def arguments_of(shape: Shape, dtype) -> tuple[jax.Array, ...]:
    """k, v, w, u and a cotangent of y; decays and bonuses as RWKV begins with."""
    keys = jax.random.split(jax.random.key(0), 3)
    k, v, gy = (jax.random.normal(key, shape.full, dtype) for key in keys)
    place = jnp.linspace(0.0, 1.0, shape.channels)
    w = -jnp.exp(-5.0 + 8.0 * place**0.7)
    u = jnp.log(0.3) + 0.5 * ((jnp.arange(shape.channels) + 1) % 3 - 1)
    return k, v, w, u, gy


def layer(name: Implementation | None, k, v, w, u, gy):
    """The recurrence; the cotangent is ignored."""
    return wkv(k, v, w, u, implementation=name)[0]


def gradient(name: Implementation | None, k, v, w, u, gy):
    """y, and the gradients of k, v, w and u."""
    y, pull = jax.vjp(lambda *a: wkv(*a, implementation=name)[0], k, v, w, u)
    return y, pull(gy)


PARTS: dict[str, Callable] = {"forward": layer, "forward and backward": gradient}


def bench_part(part: str, shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """One row per implementation."""
    functions = {label: partial(PARTS[part], name) for label, name in IMPLEMENTATIONS.items()}
    moved = minimal_bytes(shape, 4, gradient=part != "forward")
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
