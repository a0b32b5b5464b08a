"""TPU kernels: a block of x is read once, multiplied by all kernels, and combined in VMEM.

Forward the grid runs over blocks of rows and of outputs; the inputs stay whole. Where all kernels
fit on chip there is one block of outputs and they are read once. Backward there is one block of
outputs always: r and g are computed again from x, and the gradients of the kernels stay in VMEM
while the blocks of rows pass. What does not fit is left to XLA: there products take the time.

Arrays that do not fill lanes of 128 are laid out anew around the kernel: from 65,536 rows of 64 to
64 outputs 135 MB move, where XLA's own products move 185 and the minimum is 34. From 128 to 512 the
kernel moves the minimum, XLA five times as much.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxlearn_kernels.quadratic.branches import Branch, Branches, there, unpacked

DTYPES = (jnp.float32, jnp.bfloat16)
"""Input types the TPU kernels take."""

LANES = 128
MAX_ROWS = 1024
VMEM_BUDGET = 10 * 2**20  # bytes for blocks and sums; scoped VMEM is 16 MiB at least


class Plan(NamedTuple):
    """How a layer ``[N, n] -> [N, m]`` is cut.

    Attributes:
      rows: examples of a block.
      outputs: outputs of a block.
    """

    rows: int
    outputs: int


class Layer(NamedTuple):
    """What decides the plans of a layer.

    Attributes:
      rows: N.
      inputs: n.
      outputs: m.
      branches: of the three, how many there are.
      itemsize: bytes of a number.
    """

    rows: int
    inputs: int
    outputs: int
    branches: int
    itemsize: int


def forward_plan(layer: Layer, written: int = 1) -> Plan | None:
    """Blocks of the forward kernel that writes so many results, None where nothing fits.

    >>> forward_plan(Layer(65536, 128, 128, 3, 4))
    Plan(rows=1024, outputs=128)
    >>> forward_plan(Layer(65536, 512, 4096, 3, 4))
    Plan(rows=256, outputs=512)
    """
    inputs = _padded(layer.inputs)
    columns = _padded(layer.outputs)
    while columns > LANES and _weights(layer, inputs, columns) > 0.7 * VMEM_BUDGET:
        columns = _padded(columns // 2)
    free = VMEM_BUDGET - _weights(layer, inputs, columns)
    per_row = 2 * layer.itemsize * (inputs + written * columns) + 4 * layer.branches * columns
    rows = _rows(layer.rows, free // per_row)
    return None if rows is None else Plan(rows, min(columns, layer.outputs))


def backward_plan(layer: Layer) -> Plan | None:
    """Blocks of the backward kernel, None where nothing fits.

    Nor from one bfloat16 to one: JAX makes no valid program of such a product (0.10.2).

    >>> backward_plan(Layer(65536, 128, 128, 3, 4))
    Plan(rows=1024, outputs=128)
    >>> backward_plan(Layer(65536, 512, 512, 3, 4)) is None
    True
    """
    if layer.inputs == layer.outputs == 1 and layer.itemsize < 4:
        return None
    inputs, columns = _padded(layer.inputs), _padded(layer.outputs)
    gradients = 2 * layer.branches * 4 * inputs * columns
    free = VMEM_BUDGET - _weights(layer, inputs, columns) - gradients
    per_row = 2 * layer.itemsize * (2 * inputs + columns) + 4 * (2 * inputs + 4 * columns)
    rows = _rows(layer.rows, free // per_row)
    return None if rows is None else Plan(rows, layer.outputs)


def _weights(layer: Layer, inputs: int, columns: int) -> int:
    return 2 * layer.branches * layer.itemsize * inputs * columns


def _rows(rows: int, most: int) -> int | None:
    """A power of two of rows, whole sublanes of either type, that is no more than fits."""
    if most < 16:
        return None
    return min(MAX_ROWS, 1 << (most.bit_length() - 1), max(16, pl.next_power_of_2(rows)))


def _padded(n: int) -> int:
    return pl.cdiv(n, LANES) * LANES


def layer_of(x: jax.Array, branches: Branches) -> Layer:
    """The sizes of a call."""
    count = sum(branch is not None for branch in branches)
    rows, inputs = x.shape
    return Layer(rows, inputs, branches.r.bias.shape[0], count, x.dtype.itemsize)


def _dot(left, right, contracting=((1,), (0,))):
    return lax.dot_general(left, right, (contracting, ((), ())), preferred_element_type=jnp.float32)


def _linear(x, branch: Branch):
    return _dot(x, branch.kernel[...]) + branch.bias[...].astype(jnp.float32)


def _forward_kernel(x_ref, *refs, branches: tuple[bool, bool]):
    given, (y_ref, *kept) = unpacked(refs, branches)
    x = x_ref[...]
    r = y = _linear(x, given.r)
    if given.g is not None:
        g = _linear(x, given.g)
        y = r * g
        for ref, value in zip(kept, (r, g), strict=False):
            ref[...] = value.astype(ref.dtype)
    if given.b is not None:
        y += _linear(x * x, given.b)
    y_ref[...] = y.astype(y_ref.dtype)


def _backward_kernel(x_ref, dy_ref, *refs, branches: tuple[bool, bool], rows: int):
    given, (dx_ref, *refs) = unpacked(refs, branches)
    found, _ = unpacked(refs, branches)
    index = pl.program_id(0)

    @pl.when(index == 0)
    def _():
        for ref in jax.tree.leaves(found):
            ref[...] = jnp.zeros_like(ref)

    x, dy = x_ref[...], dy_ref[...]
    if rows % x.shape[0]:  # beyond the last row there is anything
        row = index * x.shape[0] + lax.broadcasted_iota(jnp.int32, (x.shape[0], 1), 0)
        x, dy = (jnp.where(row < rows, a, jnp.zeros_like(a)) for a in (x, dy))
    slope = dy.astype(jnp.float32)
    lefts = Branches(slope, None, slope if given.b is not None else None)
    if given.g is not None:
        lefts = lefts._replace(r=slope * _linear(x, given.g), g=slope * _linear(x, given.r))
    dx = jnp.zeros(x.shape, jnp.float32)
    for name, left in lefts._asdict().items():
        if left is None:
            continue
        branch, into, squared = getattr(given, name), getattr(found, name), name == "b"
        narrow = left.astype(x.dtype)
        back = _dot(narrow, branch.kernel[...], ((1,), (1,)))
        dx += 2 * x.astype(jnp.float32) * back if squared else back
        into.kernel[...] += _dot(x * x if squared else x, narrow, ((0,), (0,)))
        into.bias[...] += left.sum(0, keepdims=True)
    dx_ref[...] = dx.astype(dx_ref.dtype)


def _rows_of_biases(branches: Branches) -> Branches:
    """Biases as ``[1, m]``: blocks have two axes."""
    row = lambda branch: branch and Branch(branch.kernel, branch.bias[None])
    return Branches(*map(row, branches))


@partial(jax.jit, static_argnames=("save", "interpret"))
def forward(
    x: jax.Array, branches: Branches, *, save: bool, interpret: bool = False
) -> tuple[jax.Array, ...]:
    """``(y [N, m],)``, and with ``save`` r and g ``[N, m]`` as second and third.

    Raises:
      ValueError: the layer does not fit on chip, see :func:`forward_plan`.
    """
    layer = layer_of(x, branches)
    count = 3 if save and branches.g is not None else 1
    cut = forward_plan(layer, count)
    if cut is None:
        raise ValueError(f"{layer.inputs} inputs do not fit on chip; leave the choice to the op")
    flat = _rows_of_biases(branches)
    whole = pl.BlockSpec((layer.inputs, cut.outputs), lambda i, j: (0, j))
    bias = pl.BlockSpec((1, cut.outputs), lambda i, j: (0, j))
    result = pl.BlockSpec((cut.rows, cut.outputs), lambda i, j: (i, j))
    given = jax.tree.leaves(flat)
    return tuple(
        pl.pallas_call(
            partial(_forward_kernel, branches=there(branches)),
            out_shape=[jax.ShapeDtypeStruct((layer.rows, layer.outputs), x.dtype)] * count,
            grid=(pl.cdiv(layer.rows, cut.rows), pl.cdiv(layer.outputs, cut.outputs)),
            in_specs=[
                pl.BlockSpec((cut.rows, layer.inputs), lambda i, j: (i, 0)),
                *[bias if leaf.shape[0] == 1 else whole for leaf in given],
            ],
            out_specs=[result] * count,
            compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
            cost_estimate=_cost(layer, [x, *given], count * layer.rows * layer.outputs, 1),
            interpret=interpret,
        )(x, *given)
    )


@partial(jax.jit, static_argnames=("interpret",))
def backward(
    x: jax.Array, branches: Branches, dy: jax.Array, *, interpret: bool = False
) -> tuple[jax.Array, Branches]:
    """Cotangents of x and of the branches, r and g computed again.

    Raises:
      ValueError: the layer does not fit on chip, see :func:`backward_plan`.
    """
    layer = layer_of(x, branches)
    cut = backward_plan(layer)
    if cut is None:
        raise ValueError(
            f"{layer.inputs} x {layer.outputs} kernels and their gradients do not fit on chip; "
            "leave the choice to the op"
        )
    given = jax.tree.leaves(_rows_of_biases(branches))
    rows = lambda width: pl.BlockSpec((cut.rows, width), lambda i: (i, 0))
    still = [pl.BlockSpec(leaf.shape, lambda i: (0, 0)) for leaf in given]
    dx, *found = pl.pallas_call(
        partial(_backward_kernel, branches=there(branches), rows=layer.rows),
        out_shape=[
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            *(jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for leaf in given),
        ],
        grid=(pl.cdiv(layer.rows, cut.rows),),
        in_specs=[rows(layer.inputs), rows(layer.outputs), *still],
        out_specs=[rows(layer.inputs), *still],
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",)),
        cost_estimate=_cost(layer, [x, dy, *given, *given], x.size, 3),
        interpret=interpret,
    )(x, dy, *given)
    own, tree = jax.tree.flatten(branches)
    shaped = [a.reshape(b.shape).astype(b.dtype) for a, b in zip(found, own, strict=True)]
    return dx, tree.unflatten(shaped)


def _cost(layer: Layer, read: list[jax.Array], written: int, products: int) -> pl.CostEstimate:
    moved = sum(math.prod(a.shape) * a.dtype.itemsize for a in read)
    return pl.CostEstimate(
        flops=2 * products * layer.branches * layer.rows * layer.inputs * layer.outputs,
        bytes_accessed=moved + written * layer.itemsize,
        transcendentals=0,
    )
