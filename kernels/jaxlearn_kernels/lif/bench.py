"""Time of the LIF operation and its share of a Linear + LIF layer.

::

    python -m jaxlearn_kernels.lif.bench [--quick]

Median of interleaved runs on the default device; bytes are what the algorithm has to move.
"""

import sys
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from jaxlearn_kernels.comparison import medians
from jaxlearn_kernels.lif import Implementation, Neuron, lif
from jaxlearn_kernels.lif.shapes import BENCH, Shape

IMPLEMENTATIONS: tuple[Implementation | None, ...] = ("reference", "scan", None)
"""All run everywhere; None is the kernel on TPU and CUDA, the compiled scan elsewhere."""


def minimal_bytes(elements: int, itemsize: int, *, gradient: bool) -> int:
    """Bytes the fused operation moves: x, s forward; x, s, u, then u, gs, gx with gradient.

    >>> minimal_bytes(1, 4, gradient=False), minimal_bytes(1, 4, gradient=True)
    (8, 24)
    """
    return elements * (4 * itemsize + 8 if gradient else 2 * itemsize)


def gradient(layer: Callable) -> Callable:
    """Compiled gradient of ``sum(layer(...) * cotangent)`` with respect to all arguments."""

    def loss(arguments, cotangent):
        return jnp.vdot(layer(*arguments), cotangent)

    return jax.jit(lambda cotangent, *arguments: jax.grad(loss)(arguments, cotangent))


def _spikes(x: jax.Array, neuron: Neuron, implementation: Implementation | None) -> jax.Array:
    return lif(x, neuron=neuron, implementation=implementation)[0]


def bench_op(shape: Shape, neuron: Neuron, runs: int) -> None:
    """Print time and bandwidth of every implementation at one shape."""
    x, cotangent = (jax.random.normal(jax.random.key(i), shape.full) for i in range(2))
    layers = {
        str(name): partial(_spikes, neuron=neuron, implementation=name) for name in IMPLEMENTATIONS
    }
    forward = medians({k: jax.jit(f) for k, f in layers.items()}, (x,), runs)
    both = medians({k: gradient(f) for k, f in layers.items()}, (cotangent, x), runs)
    print(f"{shape.name}: x {shape.full} float32")
    for name in layers:
        for label, ms, with_gradient in (("fwd", forward, False), ("fwd+bwd", both, True)):
            moved = minimal_bytes(x.size, 4, gradient=with_gradient)
            rate = f"{moved / 1e6:7.1f} MB {moved / ms[name] / 1e6:7.1f} GB/s"
            print(f"  {name:9} {label:8} {ms[name]:8.2f} ms  {rate}")


def bench_share(shape: Shape, neuron: Neuron, runs: int) -> None:
    """Print the Amdahl line: what part of a Linear + LIF layer the LIF operation is."""
    width = shape.features[-1]
    x, cotangent = (jax.random.normal(jax.random.key(i), shape.full) for i in range(2))
    weight = jax.random.normal(jax.random.key(2), (width, width)) / width**0.5

    def linear(x, w):
        return x @ w

    def layer(x, w):
        return lif(linear(x, w), neuron=neuron)[0]

    def alone(x, w):
        return lif(x, neuron=neuron)[0] + 0.0 * w[0, 0]

    parts = {"linear": linear, "lif": alone, "linear+lif": layer}
    forward = medians({k: jax.jit(f) for k, f in parts.items()}, (x, weight), runs)
    both = medians({k: gradient(f) for k, f in parts.items()}, (cotangent, x, weight), runs)
    for label, ms in (("fwd", forward), ("fwd+bwd", both)):
        share = 1.0 - ms["linear"] / ms["linear+lif"]
        times = ", ".join(f"{name} {value:.2f} ms" for name, value in ms.items())
        print(f"  {label:8} {times}; a free LIF would save {100 * max(0.0, share):.0f} %")


def main(arguments: list[str]) -> None:
    """Run the benchmark; ``--quick`` takes the first shape and three runs."""
    quick = "--quick" in arguments
    shapes, runs = (BENCH[:1], 3) if quick else (BENCH, 20)
    neuron = Neuron(decay=1 - 1 / 1.1)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, median of {runs}")
    for shape in shapes:
        bench_op(shape, neuron, runs)
    print(f"share of the layer, Linear hoisted out of time: {shapes[0].name}")
    bench_share(shapes[0], neuron, runs)


if __name__ == "__main__":
    main(sys.argv[1:])
