"""TPU kernels: the grid walks lists of blocks that are held in scalar memory.

The mask may change at every call, so the grid has as many steps as a line of the mask has blocks.
Beyond the blocks that are there a step fetches nothing, since it names the block before, and
multiplies nothing; what is left of it is the turn of the grid, a fraction of a microsecond.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxlearn_kernels.block_sparse.blocks import lists

DTYPES = (jnp.float32, jnp.bfloat16)
"""Input types the TPU kernels take."""

LANES = 128
MAX_ROWS = 1024
VMEM_BUDGET = 10 * 2**20  # bytes for blocks and sums; scoped VMEM is 16 MiB at least


def rows_of(rows: int, block: tuple[int, int], itemsize: int) -> int | None:
    """Examples of a block, the same for all three products; None where nothing fits or no lane.

    >>> rows_of(4096, (256, 256), 4), rows_of(4096, (100, 128), 4), rows_of(9, (2048, 2048), 4)
    (1024, None, None)
    """
    high, wide = block
    if high % LANES or wide % LANES:
        return None
    free = VMEM_BUDGET - (2 * itemsize + 4) * high * wide
    most = free // (2 * itemsize * (high + wide) + 4 * max(high, wide))
    if most < 16:
        return None
    return min(MAX_ROWS, 1 << (most.bit_length() - 1), max(16, pl.next_power_of_2(rows)))


def times(x: jax.Array, w: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``x (m w)`` of ``x [N, n]`` and ``w [n, m]``."""
    return _product(x, w, mask, turned=False, interpret=interpret)


def back(dy: jax.Array, w: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``dy (m w)'``, the cotangent of x; w is read as it lies."""
    return _product(dy, w, mask, turned=True, interpret=interpret)


def _product_kernel(counts, places, left, w, out, total, *, turned: bool):
    step = pl.program_id(2)

    @pl.when(step == 0)
    def _():
        total[...] = jnp.zeros_like(total)

    @pl.when(step < counts[pl.program_id(1)])
    def _():
        contracting = (((1,), (int(turned),)), ((), ()))
        total[...] += lax.dot_general(
            left[...], w[...], contracting, preferred_element_type=jnp.float32
        )

    @pl.when(step == pl.num_programs(2) - 1)
    def _():
        out[...] = total[...].astype(out.dtype)


@partial(jax.jit, static_argnames=("turned", "interpret"))
def _product(left, w, mask, *, turned: bool, interpret: bool):
    count, (high, wide) = left.shape[0], mask.shape
    block = (w.shape[0] // high, w.shape[1] // wide)
    rows = _fitting(count, block, left.dtype.itemsize)
    contracted, produced = block[::-1] if turned else block
    lines, steps = mask.shape if turned else mask.shape[::-1]
    counts, places = lists(mask if turned else mask.T)
    of_w = (lambda i, j, s, c, p: (j, p[j, s])) if turned else (lambda i, j, s, c, p: (p[j, s], j))
    return pl.pallas_call(
        partial(_product_kernel, turned=turned),
        out_shape=jax.ShapeDtypeStruct((count, lines * produced), left.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(pl.cdiv(count, rows), lines, steps),
            in_specs=[
                pl.BlockSpec((rows, contracted), lambda i, j, s, c, p: (i, p[j, s])),
                pl.BlockSpec(block, of_w),
            ],
            out_specs=pl.BlockSpec((rows, produced), lambda i, j, s, c, p: (i, j)),
            scratch_shapes=[pltpu.VMEM((rows, produced), jnp.float32)],
        ),
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary")
        ),
        interpret=interpret,
    )(counts, places, left, w)


def _outer_kernel(count, own, fetched, x, dy, out, total, *, rows: int):
    place, part = pl.program_id(0), pl.program_id(1)

    @pl.when(part == 0)
    def _():
        total[...] = jnp.zeros_like(total)

    @pl.when(place < count[0])
    def _():
        left, right = x[...], dy[...]
        if rows % left.shape[0]:  # beyond the last row there is anything
            row = part * left.shape[0] + lax.broadcasted_iota(jnp.int32, (left.shape[0], 1), 0)
            left, right = (jnp.where(row < rows, a, jnp.zeros_like(a)) for a in (left, right))
        contracting = (((0,), (0,)), ((), ()))
        total[...] += lax.dot_general(left, right, contracting, preferred_element_type=jnp.float32)

    @pl.when(part == pl.num_programs(1) - 1)
    def _():
        out[...] = total[...].astype(out.dtype)


@partial(jax.jit, static_argnames=("interpret",))
def outer(x: jax.Array, dy: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``m (x' dy)``, the cotangent of w; blocks that are not there come last and are zeros."""
    (high, wide), count = mask.shape, x.shape[0]
    block = (x.shape[1] // high, dy.shape[1] // wide)
    rows = _fitting(count, block, x.dtype.itemsize)
    parts = pl.cdiv(count, rows)
    flat = mask.reshape(1, -1)
    there, fetched = lists(flat)
    own = jnp.argsort(~flat[0], stable=True).astype(jnp.int32)

    def given(side: int, divide: Any):
        """Blocks of x or dy: the next rows of this place, or what the last one there ended with."""

        def index(k, part, there, own, fetched):
            rows = jnp.where(k < there[0], part, parts - 1)
            return rows, divide(fetched[k], jnp.int32(wide))

        return pl.BlockSpec((rows, side), index)

    def written(k, part, there, own, fetched):
        return lax.div(own[k], jnp.int32(wide)), lax.rem(own[k], jnp.int32(wide))

    return pl.pallas_call(
        partial(_outer_kernel, rows=count),
        out_shape=jax.ShapeDtypeStruct((x.shape[1], dy.shape[1]), x.dtype),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(high * wide, parts),
            in_specs=[given(block[0], lax.div), given(block[1], lax.rem)],
            out_specs=pl.BlockSpec(block, written),
            scratch_shapes=[pltpu.VMEM(block, jnp.float32)],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary", "arbitrary")),
        interpret=interpret,
    )(there, own, fetched[0], x, dy)


def _fitting(rows: int, block: tuple[int, int], itemsize: int) -> int:
    found = rows_of(rows, block, itemsize)
    if found is None:
        raise ValueError(
            f"blocks of {block} do not fill lanes of {LANES} or do not fit on chip; take multiples "
            f"of {LANES} up to 512, or leave the choice to the op"
        )
    return found
