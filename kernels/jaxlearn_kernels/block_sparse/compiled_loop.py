"""A loop over the blocks that are there, each a small dense product: for CPU.

The number of turns is that of the blocks, so the time falls with them; what a turn adds to is
carried and changed in place. A block and its part of x should fit into a core's cache.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn_kernels.block_sparse.reference import compute_dtype


def times(x: jax.Array, w: jax.Array, mask: jax.Array) -> jax.Array:
    """``x (m w)`` of ``x [N, n]`` and ``w [n, m]``."""
    return _product(x, w, mask, w.shape[1], turned=False)


def back(dy: jax.Array, w: jax.Array, mask: jax.Array) -> jax.Array:
    """``dy (m w)'``, the cotangent of x; w is read as it lies."""
    return _product(dy, w, mask, w.shape[0], turned=True)


def outer(x: jax.Array, dy: jax.Array, mask: jax.Array) -> jax.Array:
    """``m (x' dy)``, the cotangent of w."""
    (high, wide), dtype = mask.shape, jnp.result_type(x, dy)
    rows, columns = x.shape[1] // high, dy.shape[1] // wide
    count, places = _order(mask)

    def body(turn, found):
        i, j = places[turn] // wide, places[turn] % wide
        left = lax.dynamic_slice_in_dim(x, i * rows, rows, 1)
        right = lax.dynamic_slice_in_dim(dy, j * columns, columns, 1)
        block = jnp.matmul(left.T, right, preferred_element_type=compute_dtype(x, dy))
        return lax.dynamic_update_slice(found, block.astype(dtype), (i * rows, j * columns))

    return lax.fori_loop(0, count, body, jnp.zeros((x.shape[1], dy.shape[1]), dtype))


def _product(left: jax.Array, w: jax.Array, mask: jax.Array, outputs: int, *, turned: bool):
    """``left (m w)``, or ``left (m w)'``: one output block after the other, its blocks in turn."""
    (high, wide), sums = mask.shape, compute_dtype(left, w)
    rows, columns = w.shape[0] // high, w.shape[1] // wide
    count, places = _order(mask if turned else mask.T)
    contracted, produced = (columns, rows) if turned else (rows, columns)
    lines = wide if turned else high

    def body(turn, found):
        out, within = places[turn] // lines, places[turn] % lines
        i, j = (out, within) if turned else (within, out)
        block = lax.dynamic_slice(w, (i * rows, j * columns), (rows, columns))
        part = lax.dynamic_slice_in_dim(left, within * contracted, contracted, 1)
        added = jnp.matmul(part, block.T if turned else block, preferred_element_type=sums)
        old = lax.dynamic_slice_in_dim(found, out * produced, produced, 1)
        return lax.dynamic_update_slice_in_dim(found, old + added, out * produced, 1)

    found = lax.fori_loop(0, count, body, jnp.zeros((left.shape[0], outputs), sums))
    return found.astype(jnp.result_type(left, w))


def _order(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How many blocks there are, and the places of those in the flat mask, ascending."""
    flat = mask.ravel()
    return flat.sum(dtype=jnp.int32), jnp.argsort(~flat, stable=True).astype(jnp.int32)
