"""GPU kernels (Pallas through Triton): one program per tile of a result, its blocks in a loop.

A tile lies within one block, so that all of it walks the same list; a block that is not there
costs nothing in a product and one store of zeros in the cotangent of w.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.block_sparse.blocks import lists
from jaxlearn_kernels.block_sparse.reference import compute_dtype

SMALLEST = 16  # of the sides of a tensor-core product
ROWS = 128  # examples of a tile
DEPTH = 32  # numbers that are contracted at a time
NARROW, WIDE = 64, 128
ENOUGH = 256  # wide tiles from which on they fill the device


def tile_of(block: tuple[int, int], most: int = NARROW) -> tuple[int, int] | None:
    """The largest tile of powers of two up to ``most`` that divides a block; None below 16.

    >>> tile_of((128, 96)), tile_of((16, 20))
    ((64, 32), None)
    """
    high, wide = (min(most, side & -side) for side in block)
    return (high, wide) if min(high, wide) >= SMALLEST else None


def times(x: jax.Array, w: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``x (m w)`` of ``x [N, n]`` and ``w [n, m]``."""
    return _product(x, w, mask, turned=False, interpret=interpret)


def back(dy: jax.Array, w: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``dy (m w)'``, the cotangent of x; w is read as it lies."""
    return _product(dy, w, mask, turned=True, interpret=interpret)


def _width(rows: int, columns: int) -> int:
    """Columns of a tile at most: wide ones read less, narrow ones are more programs."""
    return WIDE if rows * columns >= ENOUGH * WIDE**2 else NARROW


def _product_kernel(
    counts, places, left, w, out, *, rows: int, sides: tuple[int, int], tile: tuple[int, int],
    turned: bool
):  # fmt: skip
    """sides: contracted and produced numbers of a block; tile: the same of a tile."""
    (contracted, produced), (deep, columns) = sides, tile
    wide = compute_dtype(left, w)
    row = pl.program_id(0) * ROWS + jnp.arange(ROWS, dtype=jnp.int32)
    column = pl.program_id(1) * columns + jnp.arange(columns, dtype=jnp.int32)
    line = jax.lax.div(pl.program_id(1), jnp.int32(produced // columns))
    inside = (row < rows)[:, None]
    parts = jnp.int32(contracted // deep)

    def body(turn, total):
        place, part = places[line, jax.lax.div(turn, parts)], jax.lax.rem(turn, parts)
        k = place * contracted + part * deep + jnp.arange(deep, dtype=jnp.int32)
        near = plgpu.load(left.at[row[:, None], k[None, :]], mask=inside, other=0.0)
        if turned:
            own = plgpu.load(w.at[column[:, None], k[None, :]])
            return total + jnp.dot(near, own.T, preferred_element_type=wide)
        own = plgpu.load(w.at[k[:, None], column[None, :]])
        return total + jnp.dot(near, own, preferred_element_type=wide)

    zeros = jnp.zeros((ROWS, columns), wide)
    total = jax.lax.fori_loop(0, counts[line] * parts, body, zeros)
    place = out.at[row[:, None], column[None, :]]
    plgpu.store(place, total.astype(out.dtype), mask=jnp.broadcast_to(inside, total.shape))


@partial(jax.jit, static_argnames=("turned", "interpret"))
def _product(left, w, mask, *, turned: bool, interpret: bool):
    count, (high, wide) = left.shape[0], mask.shape
    block = (w.shape[0] // high, w.shape[1] // wide)
    # in the product as it lies, w passes through registers, of which wide tiles leave too few
    tile = _fitting(block, _width(count, w.shape[0]) if turned else NARROW)
    sides, tile = (block[::-1], tile[::-1]) if turned else (block, tile)
    lines = high if turned else wide
    tile = (min(tile[0], DEPTH), tile[1])
    kernel = partial(_product_kernel, rows=count, sides=sides, tile=tile, turned=turned)
    return pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct((count, lines * sides[1]), left.dtype),
        grid=(pl.cdiv(count, ROWS), lines * sides[1] // tile[1]),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
    )(*lists(mask if turned else mask.T), left, w)


def _outer_kernel(
    mask, x, dy, out, *, rows: int, block: tuple[int, int], tile: tuple[int, int], wide: int
):
    dtype = compute_dtype(x, dy)
    i = pl.program_id(0) * tile[0] + jnp.arange(tile[0], dtype=jnp.int32)
    j = pl.program_id(1) * tile[1] + jnp.arange(tile[1], dtype=jnp.int32)
    line, place = (
        jax.lax.div(pl.program_id(axis), jnp.int32(block[axis] // tile[axis])) for axis in (0, 1)
    )

    def body(turn, total):
        row = turn * DEPTH + jnp.arange(DEPTH, dtype=jnp.int32)
        inside = (row < rows)[:, None]
        left = plgpu.load(x.at[row[:, None], i[None, :]], mask=inside, other=0.0)
        right = plgpu.load(dy.at[row[:, None], j[None, :]], mask=inside, other=0.0)
        return total + jnp.dot(left.T, right, preferred_element_type=dtype)

    turns = mask[line * wide + place] * pl.cdiv(rows, DEPTH)  # a mask of 0 and 1
    total = jax.lax.fori_loop(0, turns, body, jnp.zeros(tile, dtype))
    plgpu.store(out.at[i[:, None], j[None, :]], total.astype(out.dtype))


@partial(jax.jit, static_argnames=("interpret",))
def outer(x: jax.Array, dy: jax.Array, mask: jax.Array, *, interpret: bool = False) -> jax.Array:
    """``m (x' dy)``, the cotangent of w."""
    high, wide = mask.shape
    block = (x.shape[1] // high, dy.shape[1] // wide)
    shape = (x.shape[1], dy.shape[1])
    tile = _fitting(block, _width(*shape))
    return pl.pallas_call(
        partial(_outer_kernel, rows=x.shape[0], block=block, tile=tile, wide=wide),
        out_shape=jax.ShapeDtypeStruct(shape, x.dtype),
        grid=(shape[0] // tile[0], shape[1] // tile[1]),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        interpret=interpret,
    )(mask.ravel().astype(jnp.int32), x, dy)


def _fitting(block: tuple[int, int], most: int) -> tuple[int, int]:
    found = tile_of(block, most)
    if found is None:
        raise ValueError(
            f"blocks of {block} have no tile of {SMALLEST} x {SMALLEST}; take multiples of "
            f"{SMALLEST}, or leave the choice to the op"
        )
    return found
