"""How elementwise recurrences over time are cut into blocks for a TPU, and run there.

The features are folded to ``[groups, rows, lanes]`` and cut into tiles; the grid has these three
axes and the time chunks. The last axis is sequential: the block of a carry that the kernel returns
stays in VMEM while the chunks of one tile pass. Tiles and chunks that stick out of the array are
cut by Pallas (features) and by the loop bound (time).
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

DTYPES = (jnp.float32, jnp.bfloat16)
"""Types of sequences that the TPU kernels take."""

SUBLANES, LANES = 8, 128
MAX_LANES = 512
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


def plan(time: int, features: tuple[int, ...], bytes_per_element: int, tile: int) -> Plan:
    """Choose the folding and the blocks of about ``tile`` features.

    The last two axes are kept and the others merged, which moves no data, unless padding the
    last two to whole registers takes over four times the space of the features laid out flat.

    >>> plan(500, (16, 512), 12, 8192)
    Plan(folded=(1, 16, 512), flat=False, tile=(1, 16, 512), chunk=42)
    >>> plan(16, (65536,), 12, 8192)
    Plan(folded=(1, 512, 128), flat=True, tile=(1, 64, 128), chunk=16)
    """
    size = math.prod(features)
    *_, rows, lanes = (1, 1, *features)
    folded = (size // (rows * lanes), rows, lanes)
    flat_size = _round_up(size, SUBLANES * LANES)
    flat = _registers(folded, SUBLANES) > 4 * flat_size
    if flat:
        folded = (1, flat_size // LANES, LANES)
    block = _tile(folded, tile)
    step_bytes = 2 * bytes_per_element * _registers(block, 2 * SUBLANES)
    longest = max(1, VMEM_BUDGET // step_bytes)
    return Plan(folded, flat, block, pl.cdiv(time, pl.cdiv(time, longest)))


def _tile(folded: tuple[int, int, int], size: int) -> tuple[int, int, int]:
    """About ``size`` elements: lanes first, then rows, then groups."""
    groups, rows, lanes = folded
    lanes = min(lanes, MAX_LANES, max(LANES, size // (2 * SUBLANES)))
    rows = min(rows, size // _round_up(lanes, LANES))
    return min(groups, max(1, size // _registers((1, rows, lanes), SUBLANES))), rows, lanes


def _registers(block: tuple[int, int, int], sublanes: int) -> int:
    """Elements of a block after padding to whole registers."""
    groups, rows, lanes = block
    return groups * _round_up(rows, sublanes) * _round_up(lanes, LANES)


def _round_up(n: int, multiple: int) -> int:
    return pl.cdiv(n, multiple) * multiple


def fold(a: jax.Array, cut: Plan, lead: int) -> jax.Array:
    """``[*lead axes, *features]`` to ``[*lead axes, groups, rows, lanes]``."""
    head = a.shape[:lead]
    if cut.flat:
        a = a.reshape(*head, -1)
        a = jnp.pad(a, [(0, 0)] * lead + [(0, math.prod(cut.folded) - a.shape[-1])])
    return a.reshape(*head, *cut.folded)


def unfold(a: jax.Array, cut: Plan, features: tuple[int, ...]) -> jax.Array:
    """The inverse of :func:`fold`, whatever the leading axes."""
    head = a.shape[:-3]
    if cut.flat:
        a = a.reshape(*head, -1)[..., : math.prod(features)]
    return a.reshape(*head, *features)


def steps(chunk_index: jax.Array, chunk: int, time: int) -> int | jax.Array:
    """Steps of this chunk that lie inside the sequence."""
    return chunk if time % chunk == 0 else jnp.minimum(chunk, time - chunk_index * chunk)


class Work(NamedTuple):
    """What a kernel computes for each element of a sequence, for the compiler's scheduler.

    Attributes:
      flops: sums and products.
      transcendentals: exponentials, logarithms.
    """

    flops: int
    transcendentals: int


def call(
    kernel: Callable,
    cut: Plan,
    time: int,
    inputs: Sequence[jax.Array],
    outputs: Sequence[jax.ShapeDtypeStruct],
    *,
    work: Work,
    reverse: bool,
    interpret: bool,
) -> list[jax.Array]:
    """Run a kernel; arrays of rank 4 are cut over time too, arrays of rank 3 are carries."""
    chunks = pl.cdiv(time, cut.chunk)
    sequence = pl.BlockSpec(
        (cut.chunk, *cut.tile), lambda g, r, c, t: (chunks - 1 - t if reverse else t, g, r, c)
    )
    carry = pl.BlockSpec(cut.tile, lambda g, r, c, t: (g, r, c))
    arrays = [*inputs, *outputs]
    elements = time * math.prod(cut.folded)
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
            flops=work.flops * elements,
            bytes_accessed=sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays),
            transcendentals=work.transcendentals * elements,
        ),
        interpret=interpret,
    )(*inputs)
