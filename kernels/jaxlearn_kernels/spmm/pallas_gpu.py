"""GPU kernel (Pallas through Triton): one program owns a block of rows, no atomics.

A program walks its rows. Of a row it takes a few entries at a time: their columns and values, then
as many rows of x as one tile ``[entries, columns]``, multiplied into a tile of sums in registers.
The next entries are read before the gather of the present ones is used. The tile is added up once
per row, in an order that is fixed by the shapes, and the epilogue runs on the sum before it is
written.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.spmm import reference
from jaxlearn_kernels.spmm.epilogue import Epilogue, finish
from jaxlearn_kernels.spmm.matrix import Pattern

WARP_COLUMNS = 128  # 32 threads with 16-byte loads of float32
MAX_COLUMNS = 512


class Plan(NamedTuple):
    """How one call is cut.

    Attributes:
      rows: rows of a program.
      entries: entries of a row that are gathered at a time.
      columns: columns of a program.
      warps: warps of a program.
    """

    rows: int
    entries: int
    columns: int
    warps: int


def plan(rows: int, entries: int, width: int) -> Plan:
    """Blocks for a matrix of ``rows`` with ``entries``, and x of ``width`` columns.

    About as many entries at a time as a row has on average; a warp holds whole rows of x, so that
    adding up the tile needs no exchange between warps.

    >>> plan(100_000, 1_000_000, 128)
    Plan(rows=1, entries=16, columns=128, warps=1)
    >>> plan(3_000, 9_000, 700)
    Plan(rows=2, entries=4, columns=256, warps=2)
    """
    degree = max(1, entries // max(rows, 1))
    at_once = min(16, max(4, pl.next_power_of_2(degree)))
    columns = pl.next_power_of_2(width)
    if columns > MAX_COLUMNS:
        columns = MAX_COLUMNS // 2  # less of the last block lies outside
    return Plan(max(1, 8 // at_once), at_once, columns, max(1, columns // WARP_COLUMNS))


def _kernel(*refs, cut: Plan, shape: tuple[int, int], epilogue: Epilogue, given: tuple[bool, bool]):
    """References: indptr, indices, values, x, [scale], [bias], then y, [squares]."""
    indptr, indices, entries, x, *rest = refs
    scale = rest.pop(0) if given[0] else None
    bias = rest.pop(0) if given[1] else None
    y, *squares = rest
    (height, width), wide = shape, reference.compute_dtype(x.dtype)
    columns = pl.ds(pl.program_id(1) * cut.columns, cut.columns)
    column = pl.program_id(1) * cut.columns + jnp.arange(cut.columns, dtype=jnp.int32)
    inside = column < width

    def entries_at(start, stop):
        here = pl.ds(start, cut.entries)
        real = start + jnp.arange(cut.entries, dtype=jnp.int32) < stop
        j = plgpu.load(indices.at[here], mask=real, other=0)
        a = plgpu.load(entries.at[here], mask=real, other=0.0)
        return j, a.astype(wide), real

    def one_row(row):
        start, stop = indptr[row], indptr[row + 1]

        def gather(i, carry):
            total, (j, a, real) = carry
            following = entries_at(start + (i + 1) * cut.entries, stop)
            tile = plgpu.load(
                x.at[j[:, None], column[None, :]], mask=real[:, None] & inside[None, :], other=0.0
            )
            return total + a[:, None] * tile.astype(wide), following

        total = jnp.zeros((cut.entries, cut.columns), wide)
        steps = jax.lax.div(stop - start + cut.entries - 1, jnp.int32(cut.entries))
        total, _ = jax.lax.fori_loop(0, steps, gather, (total, entries_at(start, stop)))
        factor = None if scale is None else scale[row].astype(wide)
        addend = None if bias is None else plgpu.load(bias.at[columns], mask=inside, other=0.0)
        addend = None if addend is None else addend.astype(wide)
        result, *lengths = finish(jnp.sum(total, axis=0), factor, addend, epilogue)
        plgpu.store(y.at[row, columns], result.astype(y.dtype), mask=inside)
        for ref, value in zip(squares, lengths, strict=True):
            ref[row] = jnp.sum(value)

    for k in range(cut.rows):
        row = pl.program_id(0) * cut.rows + k
        if height % cut.rows:
            pl.when(row < height)(partial(one_row, row))
        else:
            one_row(row)


@partial(jax.jit, static_argnames=("epilogue", "dtype", "cut", "interpret"))
def forward(
    pattern: Pattern,
    values: jax.Array,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    epilogue: Epilogue,
    dtype: jnp.dtype,
    cut: Plan | None = None,
    interpret: bool = False,
) -> tuple[jax.Array, ...]:
    """``(y [n, d] of dtype,)``, and ``squares [n, 1]`` as second if the epilogue measures rows.

    Rows wider than ``MAX_COLUMNS`` are cut, so their length is measured after the kernel.
    """
    height, width = pattern.indptr.shape[0] - 1, x.shape[1]
    wide = reference.compute_dtype(x.dtype)
    options = {"cut": cut, "interpret": interpret}
    if epilogue.measures and width > MAX_COLUMNS:
        (product,) = forward(
            pattern, values, x, None, None, epilogue=Epilogue(), dtype=wide, **options
        )
        return reference.after(product, scale, bias, epilogue=epilogue, dtype=dtype)
    cut = cut or plan(height, pattern.indices.shape[0], width)
    given = (scale is not None, bias is not None)
    y, *squares = pl.pallas_call(
        partial(_kernel, cut=cut, shape=(height, width), epilogue=epilogue, given=given),
        out_shape=[
            jax.ShapeDtypeStruct((height, width), dtype),
            *([jax.ShapeDtypeStruct((height,), wide)] if epilogue.measures else []),
        ],
        grid=(pl.cdiv(height, cut.rows), pl.cdiv(width, cut.columns)),
        compiler_params=plgpu.CompilerParams(num_warps=cut.warps, num_stages=1),
        interpret=interpret,
    )(pattern.indptr, pattern.indices, values, x, *(a for a in (scale, bias) if a is not None))
    return y, *(s[:, None] for s in squares)
