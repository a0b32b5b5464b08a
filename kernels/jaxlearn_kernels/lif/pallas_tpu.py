"""TPU kernels: the time loop runs inside the kernel and the membrane never leaves VMEM.

The features are folded to ``[groups, rows, lanes]`` and cut into tiles; the grid has these three
axes and the time chunks. The last axis is sequential: the block of the final
membrane stays in VMEM while the chunks of one tile pass, and serves as the carry. Tiles and
chunks that stick out of the array are cut by Pallas (features) and by the loop bound (time).
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron

DTYPES = (jnp.float32, jnp.bfloat16)
"""Input types the TPU kernels take."""

SUBLANES, LANES = 8, 128
MAX_LANES = 512
TILE = 8192  # elements: eight float32 registers, enough independent work per step
VMEM_BUDGET = 8 * 2**20  # bytes for the double-buffered blocks; scoped VMEM is 16 MiB at least


class Plan(NamedTuple):
    """How an array ``[T, *features]`` is cut.

    Attributes:
      folded: the three axes the features become; the last two fill registers.
      flat: folded through one padded axis, for shapes whose last axes would waste registers.
      tile: features of one block, along the same three axes.
      chunk: time steps of one block.
    """

    folded: tuple[int, int, int]
    flat: bool
    tile: tuple[int, int, int]
    chunk: int


def plan(time: int, features: tuple[int, ...], bytes_per_element: int) -> Plan:
    """Choose the folding and the blocks.

    The last two axes are kept and the others merged, which moves no data, unless padding the
    last two to whole registers takes over four times the space of the features laid out flat.

    >>> plan(500, (16, 512), 12)
    Plan(folded=(1, 16, 512), flat=False, tile=(1, 16, 512), chunk=42)
    >>> plan(16, (65536,), 12)
    Plan(folded=(1, 512, 128), flat=True, tile=(1, 64, 128), chunk=16)
    """
    size = math.prod(features)
    *_, rows, lanes = (1, 1, *features)
    folded = (size // (rows * lanes), rows, lanes)
    flat_size = _round_up(size, SUBLANES * LANES)
    flat = _registers(folded, SUBLANES) > 4 * flat_size
    if flat:
        folded = (1, flat_size // LANES, LANES)
    tile = _tile(folded)
    step_bytes = 2 * bytes_per_element * _registers(tile, 2 * SUBLANES)
    longest = max(1, VMEM_BUDGET // step_bytes)
    return Plan(folded, flat, tile, pl.cdiv(time, pl.cdiv(time, longest)))


def _tile(folded: tuple[int, int, int]) -> tuple[int, int, int]:
    """About TILE elements: lanes first, then rows, then groups."""
    groups, rows, lanes = folded
    lanes = min(lanes, MAX_LANES)
    rows = min(rows, TILE // _round_up(lanes, LANES))
    return min(groups, max(1, TILE // _registers((1, rows, lanes), SUBLANES))), rows, lanes


def _registers(block: tuple[int, int, int], sublanes: int) -> int:
    """Elements of a block after padding to whole registers."""
    groups, rows, lanes = block
    return groups * _round_up(rows, sublanes) * _round_up(lanes, LANES)


def _round_up(n: int, multiple: int) -> int:
    return pl.cdiv(n, multiple) * multiple


def _fold(a: jax.Array, cut: Plan, lead: int) -> jax.Array:
    """``[*lead axes, *features]`` to ``[*lead axes, groups, rows, lanes]``."""
    head = a.shape[:lead]
    if cut.flat:
        a = a.reshape(*head, -1)
        a = jnp.pad(a, [(0, 0)] * lead + [(0, math.prod(cut.folded) - a.shape[-1])])
    return a.reshape(*head, *cut.folded)


def _unfold(a: jax.Array, cut: Plan, features: tuple[int, ...]) -> jax.Array:
    head = a.shape[:-3]
    if cut.flat:
        a = a.reshape(*head, -1)[..., : math.prod(features)]
    return a.reshape(*head, *features)


def _steps(chunk_index: jax.Array, chunk: int, time: int) -> int | jax.Array:
    """Steps of this chunk that lie inside the sequence."""
    return chunk if time % chunk == 0 else jnp.minimum(chunk, time - chunk_index * chunk)


def _forward_kernel(x_ref, v0_ref, s_ref, v_ref, *u_ref, neuron: Neuron, chunk: int, time: int):
    index = pl.program_id(3)

    @pl.when(index == 0)
    def _():
        v_ref[...] = v0_ref[...]

    def body(t, v):
        u = recurrence.charge(v, x_ref[t].astype(v.dtype), neuron)
        s = recurrence.heaviside(u - neuron.threshold, neuron)
        s_ref[t] = s.astype(s_ref.dtype)
        if u_ref:
            u_ref[0][t] = u
        return recurrence.reset(u, s, neuron)

    v_ref[...] = jax.lax.fori_loop(0, _steps(index, chunk, time), body, v_ref[...])


def _backward_kernel(u_ref, gs_ref, gv_ref, gx_ref, gv0_ref, *, neuron, chunk: int, time: int):
    index = pl.program_id(3)
    steps = _steps(pl.num_programs(3) - 1 - index, chunk, time)

    @pl.when(index == 0)
    def _():
        gv0_ref[...] = gv_ref[...]

    def body(i, gv):
        t = steps - 1 - i
        gx, gv_prev = recurrence.adjoint(u_ref[t], gs_ref[t].astype(gv.dtype), gv, neuron)
        gx_ref[t] = gx.astype(gx_ref.dtype)
        return gv_prev

    gv0_ref[...] = jax.lax.fori_loop(0, steps, body, gv0_ref[...])


def _call(kernel, cut: Plan, time: int, inputs, outputs, *, reverse: bool, interpret: bool):
    """Run a kernel; arrays of rank 4 are cut over time too, arrays of rank 3 are carries."""
    chunks = pl.cdiv(time, cut.chunk)
    sequence = pl.BlockSpec(
        (cut.chunk, *cut.tile), lambda g, r, c, t: (chunks - 1 - t if reverse else t, g, r, c)
    )
    carry = pl.BlockSpec(cut.tile, lambda g, r, c, t: (g, r, c))
    arrays = [*inputs, *outputs]
    return pl.pallas_call(
        kernel,
        out_shape=outputs,
        grid=(*map(pl.cdiv, cut.folded, cut.tile), chunks),
        in_specs=[sequence if len(a.shape) == 4 else carry for a in inputs],
        out_specs=[sequence if len(a.shape) == 4 else carry for a in outputs],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "parallel", "arbitrary")
        ),
        cost_estimate=pl.CostEstimate(
            flops=10 * time * math.prod(cut.folded),
            bytes_accessed=sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays),
            transcendentals=0,
        ),
        interpret=interpret,
    )(*inputs)


@partial(jax.jit, static_argnames=("neuron", "save", "interpret"))
def forward(
    x: jax.Array, v0: jax.Array, neuron: Neuron, *, save: bool, interpret: bool = False
) -> tuple[jax.Array, ...]:
    """``(spikes, v_final)``, and with ``save`` the membranes ``u [T, ...]`` as third."""
    time, *features = x.shape
    width = 2 * x.dtype.itemsize + (v0.dtype.itemsize if save else 0)
    cut = plan(time, tuple(features), width)
    folded = (time, *cut.folded)
    outputs = [
        jax.ShapeDtypeStruct(folded, x.dtype),
        jax.ShapeDtypeStruct(folded[1:], v0.dtype),
        *([jax.ShapeDtypeStruct(folded, v0.dtype)] if save else []),
    ]
    kernel = partial(_forward_kernel, neuron=neuron, chunk=cut.chunk, time=time)
    inputs = [_fold(x, cut, 1), _fold(v0, cut, 0)]
    results = _call(kernel, cut, time, inputs, outputs, reverse=False, interpret=interpret)
    return tuple(_unfold(a, cut, tuple(features)) for a in results)


@partial(jax.jit, static_argnames=("neuron", "interpret"))
def backward(
    u: jax.Array, gs: jax.Array, gv: jax.Array, neuron: Neuron, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Cotangents ``(gx [T, ...], gv0 [...])`` from those of spikes and final membrane."""
    time, *features = u.shape
    cut = plan(time, tuple(features), u.dtype.itemsize + 2 * gs.dtype.itemsize)
    folded = (time, *cut.folded)
    outputs = [
        jax.ShapeDtypeStruct(folded, gs.dtype),
        jax.ShapeDtypeStruct(folded[1:], gv.dtype),
    ]
    kernel = partial(_backward_kernel, neuron=neuron, chunk=cut.chunk, time=time)
    inputs = [_fold(u, cut, 1), _fold(gs, cut, 1), _fold(gv, cut, 0)]
    gx, gv0 = _call(kernel, cut, time, inputs, outputs, reverse=True, interpret=interpret)
    return _unfold(gx, cut, tuple(features)), _unfold(gv0, cut, tuple(features))
