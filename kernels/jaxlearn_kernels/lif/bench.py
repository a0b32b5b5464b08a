"""Time of the LIF operation and its share of a Linear + LIF layer, as JSON lines.

::

    python -m jaxlearn_kernels.lif.bench [--quick]

One line per size, part and implementation: median milliseconds, the megabytes the algorithm has to
move at least, the rate that makes beside a plain copy's, temporaries of the compiled program, and
the deviation from the definition. ``picked`` is what the library takes on this device, ``scan`` the
compiled scan, ``reference`` the plain scan and its derivative by JAX. Last come the share lines:
what part of the time of a layer with its product hoisted out of time the neurons take. ``--quick``
takes the first size and three runs. Exit status 1: a deviation above the tolerance.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from jaxlearn_kernels.comparison import compared, medians, report
from jaxlearn_kernels.lif import Implementation, Neuron, lif
from jaxlearn_kernels.lif.shapes import BENCH, Shape

TOLERANCE = 1e-4
NEURON = Neuron(decay=1 - 1 / 1.1)
IMPLEMENTATIONS: dict[str, Implementation | None] = {
    "picked": None,
    "scan": "scan",
    "reference": "reference",
}


def minimal_bytes(elements: int, itemsize: int, *, gradient: bool) -> int:
    """Bytes the fused operation moves: x, s forward; x, s, u, then u, gs, gx with gradient.

    >>> minimal_bytes(1, 4, gradient=False), minimal_bytes(1, 4, gradient=True)
    (8, 24)
    """
    return elements * (4 * itemsize + 8 if gradient else 2 * itemsize)


def layer(name: Implementation | None, x: jax.Array, gs: jax.Array) -> jax.Array:
    """The spikes; the cotangent is ignored."""
    return lif(x, neuron=NEURON, implementation=name)[0]


def gradient(name: Implementation | None, x: jax.Array, gs: jax.Array) -> tuple:
    """The spikes and the gradient of x."""
    spikes, pull = jax.vjp(lambda x: lif(x, neuron=NEURON, implementation=name)[0], x)
    return spikes, *pull(gs)


PARTS: dict[str, Callable] = {"forward": layer, "forward and backward": gradient}


def arguments_of(shape: Shape) -> tuple[jax.Array, jax.Array]:
    """Input and a cotangent of the spikes."""
    x, gs = (jax.random.normal(jax.random.key(i), shape.full) for i in range(2))
    return x, gs


def bench_part(part: str, shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """One row per implementation."""
    functions = {label: partial(PARTS[part], name) for label, name in IMPLEMENTATIONS.items()}
    x, gs = arguments_of(shape)
    moved = minimal_bytes(x.size, 4, gradient=part != "forward")
    for row in compared(functions, (x, gs), runs, moved):
        yield {"part": part, "size": shape.name} | row


def _linear(x: jax.Array, w: jax.Array) -> jax.Array:
    return x @ w


def _spiking(x: jax.Array, w: jax.Array) -> jax.Array:
    return lif(x @ w, neuron=NEURON)[0]


def share(shape: Shape, runs: int) -> Iterator[dict[str, Any]]:
    """What part of a Linear + LIF layer the neurons take, without and with both gradients."""
    width = shape.features[-1]
    x, cotangent = arguments_of(shape)
    w = jax.random.normal(jax.random.key(2), (width, width)) / width**0.5

    def with_gradients(f: Callable) -> Callable:
        def run(x, w):
            y, pull = jax.vjp(f, x, w)
            return y, pull(cotangent)

        return run

    for part, of in (("forward", lambda f: f), ("forward and backward", with_gradients)):
        parts = {"linear": jax.jit(of(_linear)), "layer": jax.jit(of(_spiking))}
        times = medians(parts, (x, w), runs)
        row = {"part": f"share of a layer, {part}", "size": shape.name}
        row |= {"device": jax.devices()[0].device_kind}
        row |= {f"{name}_ms": round(ms, 4) for name, ms in times.items()}
        yield row | {"lif_share": round(max(0.0, 1 - times["linear"] / times["layer"]), 3)}


def rows(shapes: tuple[Shape, ...], runs: int) -> Iterator[dict[str, Any]]:
    """All rows of these shapes; shares of the first."""
    for shape in shapes:
        for part in PARTS:
            yield from bench_part(part, shape, runs)
    yield from share(shapes[0], runs)


def main(arguments: list[str]) -> int:
    """Print the rows; 0, or 1 if a result deviates from the reference."""
    shapes, runs = (BENCH[:1], 3) if "--quick" in arguments else (BENCH, 10)
    return report(rows(shapes, runs), TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
