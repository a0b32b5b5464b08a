"""TPU kernel: a grid step owns 128 rows; rows of x come from HBM by asynchronous copies.

The entries of the block are walked in chunks, in three stages that overlap: the columns, rows and
values of chunk c + 2 travel to scalar memory, the rows of x that chunk c + 1 names to one of two
buffers in VMEM, and those of chunk c are added to the float32 sums of their rows. Then the epilogue
runs on the block before it is written. Chunks lie at multiples of their length; a block skips the
entries of its neighbours. What is copied is made of whole lines of 128 32-bit lanes: x is padded to
them, and bfloat16 travels as pairs in 32-bit words where that saves a line.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxlearn_kernels.spmm import reference
from jaxlearn_kernels.spmm.epilogue import Epilogue, finish
from jaxlearn_kernels.spmm.matrix import Pattern

DTYPES = (jnp.float32, jnp.bfloat16)
"""Types of x the TPU kernel takes."""

LANES = 128
ROWS = LANES  # a square of registers, so that a column of norms turns into a line of them
CHUNK = LANES  # entries
MAX_COLUMNS = 2048  # sums, results and two buffers of rows stay under 8 MiB of VMEM


def _column(line: jax.Array) -> jax.Array:
    """``[1, ROWS] -> [ROWS, 1]``, through a square transpose."""
    return jnp.transpose(jnp.broadcast_to(line, (ROWS, ROWS)))[:, :1]


def _line(column: jax.Array) -> jax.Array:
    """``[ROWS, 1] -> [1, ROWS]``."""
    return jnp.transpose(jnp.broadcast_to(column, (ROWS, ROWS)))[:1]


def _packed(x: jax.Array) -> jax.Array:
    """x as lines to copy: ``[m, 1, k LANES]`` of float32, or of int32 with two bfloat16 in each.

    A word has column j in its lower half and column ``j + k LANES`` in the upper one.
    """
    pairs = x.dtype == jnp.bfloat16 and x.shape[1] > LANES
    multiple = 2 * LANES if pairs else LANES
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % multiple)))
    if not pairs:
        return x.astype(jnp.float32)[:, None]
    bits = jax.lax.bitcast_convert_type(x, jnp.uint16).astype(jnp.uint32)
    low, high = jnp.split(bits, 2, axis=1)
    return jax.lax.bitcast_convert_type(low | high << 16, jnp.int32)[:, None]


def _unpacked(words: jax.Array) -> list[jax.Array]:
    """The float32 columns of one line: all of them, or the lower and the upper ones."""
    if words.dtype == jnp.float32:
        return [words]
    as_float = partial(jax.lax.bitcast_convert_type, new_dtype=jnp.float32)
    return [as_float(words << 16), as_float(words & -(1 << 16))]


def _kernel(bounds, columns, rows, values, x, *refs, epilogue: Epilogue, given: tuple[bool, bool]):
    """References: bounds of the blocks; the entries and x in HBM; [scale], [bias]; y, [squares];
    sums, the buffers of entries and of rows of x, and the semaphores of both."""
    rest = list(refs)
    scale = rest.pop(0) if given[0] else None
    bias = rest.pop(0) if given[1] else None
    *outputs, sums, column, row, value, gathered, entries_done, rows_done = rest
    block = pl.program_id(0)
    first, last = bounds[block], bounds[block + 1]
    begin, end = jax.lax.div(first, CHUNK), jax.lax.div(last + CHUNK - 1, CHUNK)

    def scalars(c):
        slot = jax.lax.rem(c, 3)
        pairs = ((columns, column), (rows, row), (values, value))
        return [
            pltpu.make_async_copy(source.at[c], target.at[slot], entries_done.at[slot, i])
            for i, (source, target) in enumerate(pairs)
        ]

    def row_of_x(c, k):
        slot, j = jax.lax.rem(c, 2), column[jax.lax.rem(c, 3), 0, k]
        return pltpu.make_async_copy(x.at[j], gathered.at[slot, k], rows_done.at[slot])

    def each(c, act):
        """Call ``act`` on the entries of chunk c that belong to this block."""
        low, high = jnp.maximum(first - c * CHUNK, 0), jnp.minimum(last - c * CHUNK, CHUNK)
        jax.lax.fori_loop(low, high, lambda k, _: act(k), None)

    def start(copies):
        for copy in copies:
            copy.start()

    def wait(copies):
        for copy in copies:
            copy.wait()

    def fetch_rows(c):
        wait(scalars(c))
        each(c, lambda k: row_of_x(c, k).start())

    def add(c, k):
        slot = jax.lax.rem(c, 3)
        here, factor = pl.ds(row[slot, 0, k] - block * ROWS, 1), value[slot, 0, k]
        for i, part in enumerate(_unpacked(gathered[jax.lax.rem(c, 2), k])):
            sums[i, here] += factor * part

    def chunk(c, _):
        pl.when(c + 2 < end)(lambda: start(scalars(c + 2)))
        pl.when(c + 1 < end)(lambda: fetch_rows(c + 1))
        each(c, lambda k: row_of_x(c, k).wait())
        each(c, lambda k: add(c, k))

    sums[...] = jnp.zeros_like(sums)

    @pl.when(first < last)
    def _():
        start(scalars(begin))
        pl.when(begin + 1 < end)(lambda: start(scalars(begin + 1)))
        fetch_rows(begin)
        jax.lax.fori_loop(begin, end, chunk, None)

    factor = None if scale is None else _column(scale[0])
    product = jnp.concatenate(list(sums[...]), axis=1)
    result, *squares = finish(product, factor, None if bias is None else bias[...], epilogue)
    outputs[0][...] = result[:, : outputs[0].shape[1]].astype(outputs[0].dtype)
    for ref, value in zip(outputs[1:], squares, strict=True):
        ref[0] = _line(value)


@partial(jax.jit, static_argnames=("epilogue", "dtype", "interpret"))
def forward(
    pattern: Pattern,
    values: jax.Array,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    epilogue: Epilogue,
    dtype: jnp.dtype,
    interpret: Any = False,
) -> tuple[jax.Array, ...]:
    """``(y [n, d] of dtype,)``, and ``squares [n, 1]`` as second if the epilogue measures rows.

    More than ``MAX_COLUMNS`` columns take several calls, with the epilogue behind them.
    """
    width = x.shape[1]
    if width > MAX_COLUMNS:
        plain = {"epilogue": Epilogue(), "dtype": jnp.dtype(jnp.float32), "interpret": interpret}
        parts = [
            forward(pattern, values, x[:, at : at + MAX_COLUMNS], None, None, **plain)[0]
            for at in range(0, width, MAX_COLUMNS)
        ]
        product = jnp.concatenate(parts, axis=1)
        return reference.after(product, scale, bias, epilogue=epilogue, dtype=dtype)
    return _call(pattern, values, x, scale, bias, epilogue, dtype, interpret)


def _call(pattern, values, x, scale, bias, epilogue: Epilogue, dtype, interpret):
    height, width, entries = pattern.indptr.shape[0] - 1, x.shape[1], values.shape[0]
    blocks, chunks = pl.cdiv(height, ROWS), pl.cdiv(entries, CHUNK)
    bounds = pattern.indptr[jnp.minimum(jnp.arange(blocks + 1) * ROWS, height)]
    lines = _packed(x)
    padded = lines.shape[2] * (2 if lines.dtype == jnp.int32 else 1)
    values = values.astype(jnp.float32)
    inputs = [_in_lines(a, chunks) for a in (pattern.indices, pattern.rows, values)]
    specs = [pl.BlockSpec(memory_space=pl.ANY)] * 4
    line = pl.BlockSpec((1, 1, ROWS), lambda i, _: (i, 0, 0))
    if scale is not None:
        scale = _in_lines(scale.astype(jnp.float32), blocks)
        specs.append(line)
    if bias is not None:
        bias = jnp.pad(bias.astype(jnp.float32), (0, padded - width))[None]
        specs.append(pl.BlockSpec((1, padded), lambda i, _: (0, 0)))
    y, *squares = pl.pallas_call(
        partial(_kernel, epilogue=epilogue, given=(scale is not None, bias is not None)),
        out_shape=[
            jax.ShapeDtypeStruct((max(height, ROWS), width), dtype),
            *([jax.ShapeDtypeStruct((blocks, 1, ROWS), jnp.float32)] * epilogue.measures),
        ],
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(blocks,),
            in_specs=specs,
            out_specs=[
                pl.BlockSpec((ROWS, width), lambda i, _: (i, 0)),
                *([line] * epilogue.measures),
            ],
            scratch_shapes=[
                pltpu.VMEM((padded // lines.shape[2], ROWS, lines.shape[2]), jnp.float32),
                pltpu.SMEM((3, 1, CHUNK), jnp.int32),
                pltpu.SMEM((3, 1, CHUNK), jnp.int32),
                pltpu.SMEM((3, 1, CHUNK), jnp.float32),
                pltpu.VMEM((2, CHUNK, 1, lines.shape[2]), lines.dtype),
                pltpu.SemaphoreType.DMA((3, 3)),
                pltpu.SemaphoreType.DMA((2,)),
            ],
        ),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        cost_estimate=pl.CostEstimate(
            flops=2 * entries * width,
            bytes_accessed=entries * (4 * lines.shape[2] + 12)
            + height * width * jnp.dtype(dtype).itemsize,
            transcendentals=0,
        ),
        interpret=interpret,
    )(bounds, *inputs, lines, *(a for a in (scale, bias) if a is not None))
    return y[:height], *(s.reshape(-1, 1)[:height] for s in squares)


def _in_lines(a: jax.Array, lines: int) -> jax.Array:
    """``[k] -> [lines, 1, LANES]``, padded with zeros."""
    return jnp.pad(a, (0, lines * LANES - a.shape[0])).reshape(lines, 1, LANES)
