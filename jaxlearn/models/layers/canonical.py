"""Convolutions whose derivatives have the layout that XLA's fast kernels on CPU take.

XLA puts a convolution into that layout itself, but only outside of loops: within one the gradients
that JAX writes, which name the axes in another order instead of moving them, run 5 to 180 times
slower. Here every derivative of any order moves the axes first.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Pads = Sequence[tuple[int, int]]


def canonical(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Pads,
    *,
    dilation: Sequence[int] | None = None,
    spread: Sequence[int] | None = None,
) -> jax.Array:
    """`y[b, i, o] = sum_{p, c} x'[b, i stride + p dilation - low, c] kernel[p, c, o]`.

    x' is x with `spread - 1` zeros between its entries along every spatial axis, and zero outside.
    Under `vmap` a batch of kernels meets a batch of inputs one pair after the other: as groups of
    one convolution they take 3 to 6 times as long on CPU.

    Args:
        x: `[batch, *space, channels in]`, with one to three axes of space.
        kernel: `[*taps, channels in, channels out]`.
        strides: between outputs, by axis.
        padding: zeros before and after every axis; less than 0 cuts.
        dilation: between taps, 1 by default.
        spread: between entries of x, 1 by default.

    Example:
        >>> canonical(jnp.ones((1, 3, 1)), jnp.ones((2, 1, 1)), [1], [(1, 0)])[0, :, 0].tolist()
        [1.0, 2.0, 2.0]
    """
    ones = (1,) * len(strides)
    window = {
        "strides": tuple(strides),
        "padding": tuple(map(tuple, padding)),
        "spread": tuple(spread or ones),
        "dilation": tuple(dilation or ones),
    }
    return CANONICAL.bind(*_varying_alike(x, kernel), **window)


def by_platform(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Pads
) -> jax.Array:
    """`canonical` on CPU, the platform's own convolution elsewhere; arguments as there."""
    own = partial(
        lax.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        dimension_numbers=layout(len(strides)),
    )
    ours = partial(canonical, strides=strides, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=ours, default=own)


CANONICAL = Primitive("canonical_convolution")
"""Known to what walks through jaxprs by this name."""


def layout(axes: int) -> lax.ConvDimensionNumbers:
    """Where batch, space and channels are.

    >>> layout(2)
    ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2))
    """
    space, last = tuple(range(1, axes + 1)), axes + 1
    image = (0, last, *space)
    return lax.ConvDimensionNumbers(image, (last, axes, *range(axes)), image)


def _apply(x: jax.Array, kernel: jax.Array, **window: Any) -> jax.Array:
    reach = _spans(kernel.shape[:-2], window["dilation"])
    if any(tap > side for tap, side in zip(reach, x.shape[1:-1], strict=True)):
        return _as_product(x, kernel, **window)  # XLA has no fast kernel for one wider than x
    return lax.conv_general_dilated(
        x,
        kernel,
        window["strides"],
        window["padding"],
        lhs_dilation=window["spread"],
        rhs_dilation=window["dilation"],
        dimension_numbers=layout(x.ndim - 2),
    )


def _as_product(x: jax.Array, kernel: jax.Array, **window: Any) -> jax.Array:
    """The same as a product of x as every tap sees it, side by side."""
    strides, spread, dilation = window["strides"], window["spread"], window["dilation"]
    edges = [(*pad, step - 1) for pad, step in zip(window["padding"], spread, strict=True)]
    wide = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    taps = _spans(kernel.shape[:-2], dilation)
    reach = [side - tap + 1 for side, tap in zip(wide.shape[1:-1], taps, strict=True)]
    seen = []
    for tap in itertools.product(*map(range, kernel.shape[:-2])):
        starts = [p * gap for p, gap in zip(tap, dilation, strict=True)]
        cuts = zip(starts, reach, strides, strict=True)
        seen.append(wide[:, *(slice(start, start + far, step) for start, far, step in cuts)])
    return jnp.concatenate(seen, -1) @ kernel.reshape(-1, kernel.shape[-1])


@CANONICAL.def_abstract_eval
def _shaped(x: Any, kernel: Any, **window: Any) -> Any:
    (out,) = jax.make_jaxpr(partial(_apply, **window))(x, kernel).out_avals
    return out


def _varying_alike(*arrays: Any) -> list[jax.Array]:
    """The arrays, each marked as varying over every mesh axis that one of them varies over.

    As JAX marks what its own operations take within `shard_map`, so that the gradient of what was
    the same on all devices is summed over them.
    """
    over = [jax.typeof(array).mat.varying for array in arrays]
    every = frozenset().union(*over)
    return [
        lax.pcast(array, tuple(every - own), to="varying")
        for array, own in zip(arrays, over, strict=True)
    ]


def _spans(sizes: Sequence[int], steps: Sequence[int]) -> list[int]:
    """How far so many entries reach, so many steps apart."""
    return [max(step * (size - 1) + 1, 0) for size, step in zip(sizes, steps, strict=True)]


def _for_inputs(y: jax.Array, x: Any, kernel: jax.Array, **window: Any) -> jax.Array:
    """The transpose in x: the kernel turned around meets the cotangent, its strides spread out."""
    axes = tuple(range(y.ndim - 2))
    strides, spread, dilation = window["strides"], window["spread"], window["dilation"]
    reach = _spans(kernel.shape[:-2], dilation)
    filled, wanted = _spans(y.shape[1:-1], strides), _spans(x.aval.shape[1:-1], spread)
    padding = []
    for r, f, w, (low, _) in zip(reach, filled, wanted, window["padding"], strict=True):
        padding.append((r - 1 - low, w - f + low))
    turned = jnp.swapaxes(jnp.flip(kernel, axes), -1, -2)
    return canonical(y, turned, spread, padding, dilation=dilation, spread=strides)


def _for_kernel(y: jax.Array, x: jax.Array, kernel: Any, **window: Any) -> jax.Array:
    """The transpose in the kernel: the images meet the cotangent, examples being the channels.

    The wider of the two is taken for the image.
    """
    strides, spread, dilation = window["strides"], window["spread"], window["dilation"]
    reach = _spans(kernel.aval.shape[:-2], dilation)
    filled, given = _spans(y.shape[1:-1], strides), _spans(x.shape[1:-1], spread)
    lows = [low for low, _ in window["padding"]]
    spans = list(zip(reach, filled, given, lows, strict=True))
    if any(f > g for f, g in zip(filled, given, strict=True)):
        padding = [(r - 1 - low, g - f + low) for r, f, g, low in spans]
        images, inputs = jnp.swapaxes(y, 0, -1), jnp.moveaxis(x, 0, -2)
        turned = canonical(images, inputs, dilation, padding, dilation=spread, spread=strides)
        return jnp.moveaxis(jnp.flip(turned, range(1, y.ndim - 1)), 0, -1)
    padding = [(low, r + f - 1 - g - low) for r, f, g, low in spans]
    images, cotangents = jnp.swapaxes(x, 0, -1), jnp.moveaxis(y, 0, -2)
    found = canonical(images, cotangents, dilation, padding, dilation=strides, spread=spread)
    return jnp.moveaxis(found, 0, -2)


def _batched(arguments: Any, axes: Any, **window: Any) -> tuple[jax.Array, int]:
    x, kernel = arguments
    along_x, along_kernel = axes
    if along_kernel is None:  # more examples
        x = jnp.moveaxis(x, along_x, 0)
        y = CANONICAL.bind(x.reshape(-1, *x.shape[2:]), kernel, **window)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    kernel = jnp.moveaxis(kernel, along_kernel, 0)
    if along_x is None:  # more channels
        count, channels = len(kernel), kernel.shape[-1]
        wide = jnp.moveaxis(kernel, 0, -2)
        y = CANONICAL.bind(x, wide.reshape(*wide.shape[:-2], count * channels), **window)
        return y.reshape(*y.shape[:-1], count, channels), y.ndim - 1
    x = jnp.moveaxis(x, along_x, 0)
    return lax.map(lambda pair: CANONICAL.bind(*pair, **window), (x, kernel)), 0


CANONICAL.def_impl(_apply)
ad.defbilinear(CANONICAL, _for_inputs, _for_kernel)
batching.primitive_batchers[CANONICAL] = _batched
mlir.register_lowering(CANONICAL, mlir.lower_fun(_apply, multiple_results=False))
