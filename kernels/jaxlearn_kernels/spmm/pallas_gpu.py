"""GPU kernel (Pallas through Triton): a program owns a short row or a piece of a long one.

A program takes a few entries at a time: their columns and values, then as many rows of x as one
tile ``[entries, columns]``, multiplied into a tile of sums in registers. The next entries are read
before the gather of the present ones is used. The tile is added up once, without atomics, in an
order that the shapes and the pattern fix, and the epilogue runs on the sum before it is written.

Graphs have hubs, and a hub's row in one program would outlast all others. So the entries are marked
off in blocks: a row's first program goes on to the end of the first whole block, and of what a long
row still has every block is a program of its own. These write sums of pieces, which a second kernel
adds up, one program per long row.
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
MAX_ENTRIES = 8
BLOCK = 128  # entries of a piece


class Plan(NamedTuple):
    """How one call is cut.

    Attributes:
      entries: entries of a row that are gathered at a time.
      columns: columns of a program.
      warps: warps of a program.
      block: entries of a piece of a long row.
    """

    entries: int
    columns: int
    warps: int
    block: int = BLOCK


def plan(rows: int, entries: int, width: int) -> Plan:
    """Blocks for a matrix of ``rows`` with ``entries``, and x of ``width`` columns.

    About as many entries at a time as a row has on average, but few enough that many programs fit
    on a processor (on an H100 16 at a time take 1.6 times as long, and pieces of 32 entries 1.2
    times); a warp holds whole rows of x, so that adding up the tile needs no exchange between
    warps.

    >>> plan(100_000, 1_000_000, 128)
    Plan(entries=8, columns=128, warps=1, block=128)
    >>> plan(3_000, 9_000, 700)
    Plan(entries=4, columns=256, warps=2, block=128)
    """
    degree = max(1, entries // max(rows, 1))
    at_once = min(MAX_ENTRIES, max(4, pl.next_power_of_2(degree)))
    columns = pl.next_power_of_2(width)
    if columns > MAX_COLUMNS:
        columns = MAX_COLUMNS // 2  # less of the last block lies outside
    return Plan(at_once, columns, max(1, columns // WARP_COLUMNS))


def _columns(cut: Plan, width: int):
    """This program's columns: a slice, their numbers, and which of them exist."""
    start = pl.program_id(1) * cut.columns
    numbers = start + jnp.arange(cut.columns, dtype=jnp.int32)
    return pl.ds(start, cut.columns), numbers, numbers < width


def _first_block(start, cut: Plan):
    """Where the first whole block behind the beginning of a row begins."""
    return jax.lax.div(start + (cut.block - 1), jnp.int32(cut.block)) * cut.block


def _write(refs, row, columns, inside, total, scale, bias, epilogue: Epilogue) -> None:
    """The epilogue of a row's sum, into y and [squares]."""
    y, *squares = refs
    factor = None if scale is None else scale[row].astype(total.dtype)
    addend = None if bias is None else plgpu.load(bias.at[columns], mask=inside, other=0.0)
    addend = None if addend is None else addend.astype(total.dtype)
    result, *lengths = finish(total, factor, addend, epilogue)
    plgpu.store(y.at[row, columns], result.astype(y.dtype), mask=inside)
    for ref, value in zip(squares, lengths, strict=True):
        ref[row] = jnp.sum(value)


def _rows_kernel(
    *refs, cut: Plan, shape: tuple[int, int], blocks: int, epilogue: Epilogue,
    given: tuple[bool, bool],
):  # fmt: skip
    """Short rows whole, long rows in pieces.

    References: indptr, rows, indices, values, x, [scale], [bias], then y, [squares], [pieces]. The
    first ``blocks`` programs are those of pieces behind a row's first, then comes one per row.
    """
    indptr, rows, indices, entries, x, *rest = refs
    scale = rest.pop(0) if given[0] else None
    bias = rest.pop(0) if given[1] else None
    pieces = rest.pop() if blocks else None
    (height, width), wide = shape, reference.compute_dtype(x.dtype)
    columns, column, inside = _columns(cut, width)

    here = pl.program_id(0)
    behind = here < blocks
    block = jnp.minimum(here, max(0, blocks - 1)) * cut.block
    row = jax.lax.select(behind, rows[block], here - blocks)
    real = jnp.minimum(row, height - 1)
    begin, end = indptr[real], indptr[real + 1]
    first = _first_block(begin, cut)
    owned = (row < height) & (~behind | (block >= first + cut.block))
    start = jax.lax.select(behind, block, begin)
    mark = jax.lax.select(behind, block, first)
    stop = jax.lax.select(owned, jnp.minimum(end, mark + cut.block), start)

    def entries_at(start):
        here = pl.ds(start, cut.entries)
        real = start + jnp.arange(cut.entries, dtype=jnp.int32) < stop
        j = plgpu.load(indices.at[here], mask=real, other=0)
        a = plgpu.load(entries.at[here], mask=real, other=0.0)
        return j, a.astype(wide), real

    def gather(i, carry):
        total, (j, a, real) = carry
        following = entries_at(start + (i + 1) * cut.entries)
        tile = plgpu.load(
            x.at[j[:, None], column[None, :]], mask=real[:, None] & inside[None, :], other=0.0
        )
        return total + a[:, None] * tile.astype(wide), following

    total = jnp.zeros((cut.entries, cut.columns), wide)
    steps = jax.lax.div(stop - start + cut.entries - 1, jnp.int32(cut.entries))
    total, _ = jax.lax.fori_loop(0, steps, gather, (total, entries_at(start)))
    total = jnp.sum(total, axis=0)
    whole = ~behind & (end <= first + cut.block)
    pl.when(whole)(lambda: _write(rest, row, columns, inside, total, scale, bias, epilogue))
    if pieces is not None:
        place = pieces.at[jax.lax.div(mark, jnp.int32(cut.block)), columns]
        pl.when(owned & ~whole)(lambda: plgpu.store(place, total, mask=inside))


def _long_kernel(
    *refs, cut: Plan, shape: tuple[int, int], epilogue: Epilogue, given: tuple[bool, bool]
):
    """The rows in pieces, one program per block, of which those at a row's first have work.

    References: indptr, rows, pieces, [scale], [bias], y and [squares] as they are, then the same
    again to be written.
    """
    indptr, rows, pieces, *rest = refs
    scale = rest.pop(0) if given[0] else None
    bias = rest.pop(0) if given[1] else None
    results = rest[len(rest) // 2 :]
    height, width = shape
    columns, column, inside = _columns(cut, width)
    block = pl.program_id(0)
    row = rows[block * cut.block]
    real = jnp.minimum(row, height - 1)
    begin, end = indptr[real], indptr[real + 1]
    first = _first_block(begin, cut)
    last = jax.lax.div(end + (cut.block - 1), jnp.int32(cut.block))

    def added(i, total):
        place = block + i * cut.entries + jnp.arange(cut.entries, dtype=jnp.int32)
        mask = (place < last)[:, None] & inside[None, :]
        return total + plgpu.load(pieces.at[place[:, None], column[None, :]], mask=mask, other=0.0)

    @pl.when((row < height) & (block * cut.block == first) & (end > first + cut.block))
    def _():
        total = jnp.zeros((cut.entries, cut.columns), pieces.dtype)
        steps = jax.lax.div(last - block + (cut.entries - 1), jnp.int32(cut.entries))
        total = jnp.sum(jax.lax.fori_loop(0, steps, added, total), axis=0)
        _write(results, row, columns, inside, total, scale, bias, epilogue)


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
    # a row of one block or less has no pieces
    count = pattern.indices.shape[0]
    blocks = pl.cdiv(count, cut.block) if count > cut.block else 0
    given = (scale is not None, bias is not None)
    options = {"cut": cut, "shape": (height, width), "epilogue": epilogue, "given": given}
    call = partial(
        pl.pallas_call,
        compiler_params=plgpu.CompilerParams(num_warps=cut.warps, num_stages=1),
        interpret=interpret,
    )
    tiles = pl.cdiv(width, cut.columns)
    results = [
        jax.ShapeDtypeStruct((height, width), dtype),
        *([jax.ShapeDtypeStruct((height,), wide)] if epilogue.measures else []),
    ]
    pieces = [jax.ShapeDtypeStruct((blocks, width), wide)] if blocks else []
    addends = [a for a in (scale, bias) if a is not None]
    found = call(
        partial(_rows_kernel, blocks=blocks, **options),
        out_shape=[*results, *pieces],
        grid=(blocks + height, tiles),
    )(pattern.indptr, pattern.rows, pattern.indices, values, x, *addends)
    if blocks:
        *found, pieces = found
        arguments = [pattern.indptr, pattern.rows, pieces, *addends, *found]
        own = len(arguments) - len(found)
        found = call(
            partial(_long_kernel, **options),
            out_shape=results,
            grid=(blocks, tiles),
            input_output_aliases={own + i: i for i in range(len(found))},
        )(*arguments)
    y, *squares = found
    return y, *(s[:, None] for s in squares)
