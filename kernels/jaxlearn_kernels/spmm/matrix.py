"""A sparse matrix in compressed rows (CSR), with its transpose beside it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Pattern(NamedTuple):
    """Where the E entries of an n x m matrix are, row by row.

    Attributes:
      indptr: int32 ``[n + 1]``; row i has the entries ``indptr[i]`` to ``indptr[i + 1] - 1``.
      indices: int32 ``[E]``, the column of each entry (0 for padding).
      rows: int32 ``[E]``, the row of each entry (n for padding), ascending.
    """

    indptr: Any  # arrays of numpy when built on the host, of JAX inside a step
    indices: Any
    rows: Any


class Sparse(NamedTuple):
    """An n x m matrix. Shapes are static: surplus entries at the end belong to no row.

    The matrix and its transpose are both kept by row, so that the product and its derivative are
    the same row-wise operation and neither adds to a shared accumulator.

    Attributes:
      pattern: its entries by row.
      transposed: the entries of its transpose by row.
      order: int32 ``[E]``; entry k of the transpose is entry ``order[k]`` of the matrix.
      values: float ``[E]``, 0 for padding.
    """

    pattern: Pattern
    transposed: Pattern
    order: Any
    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, m)``."""
        return self.pattern.indptr.shape[0] - 1, self.transposed.indptr.shape[0] - 1


def from_coordinates(
    rows: jax.Array, columns: jax.Array, values: jax.Array, shape: tuple[int, int]
) -> Sparse:
    """The matrix with ``values[k]`` at ``(rows[k], columns[k])``, built by JAX: works under jit.

    Entries come in any order, may share a place (they add up), and are padding where the row is
    ``shape[0]``. Indices are not checked: a column outside of the shape gives a wrong product.

    >>> i, j, v = jnp.array([1, 0, 2]), jnp.array([0, 2, 0]), jnp.array([5.0, 7.0, 9.0])
    >>> matrix = from_coordinates(i, j, v, (2, 3))  # the third is padding
    >>> matrix.pattern.indptr.tolist(), matrix.values.tolist()
    ([0, 1, 2], [7.0, 5.0, 0.0])
    """
    real = rows < shape[0]
    rows = jnp.where(real, rows, shape[0]).astype(jnp.int32)
    columns = jnp.where(real, columns, shape[1]).astype(jnp.int32)
    first = jnp.lexsort((columns, rows))
    rows, columns, real = rows[first], columns[first], real[first]
    order = jnp.lexsort((rows, columns)).astype(jnp.int32)
    return Sparse(
        _pattern(rows, jnp.where(real, columns, 0), shape[0]),
        _pattern(columns[order], jnp.where(real, rows, 0)[order], shape[1]),
        order,
        jnp.where(real, values[first], 0),
    )


def _pattern(rows: jax.Array, columns: jax.Array, height: int) -> Pattern:
    bounds = jnp.arange(height + 1, dtype=jnp.int32)
    return Pattern(jnp.searchsorted(rows, bounds).astype(jnp.int32), columns, rows)


def sum_rows(pattern: Pattern, entries: jax.Array) -> jax.Array:
    """The sum of ``[E, ...]`` over the entries of each row: ``[n, ...]``."""
    size = pattern.indptr.shape[0] - 1
    return jax.ops.segment_sum(entries, pattern.rows, size, indices_are_sorted=True)


def of_rows(pattern: Pattern, x: jax.Array, padding: float = 0) -> jax.Array:
    """What ``x`` ``[n, ...]`` holds for the row of each entry: ``[E, ...]``."""
    return jnp.asarray(x).at[pattern.rows].get(mode="fill", fill_value=padding)


def softmax_rows(pattern: Pattern, scores: jax.Array) -> jax.Array:
    """Softmax of ``[E, ...]`` over the entries of each row; 0 for padding."""
    size = pattern.indptr.shape[0] - 1
    highest = jax.ops.segment_max(scores, pattern.rows, size, indices_are_sorted=True)
    powers = jnp.exp(scores - of_rows(pattern, lax.stop_gradient(highest)))
    real = (pattern.rows < size).reshape(-1, *[1] * (scores.ndim - 1))
    return jnp.where(real, powers / of_rows(pattern, sum_rows(pattern, powers), padding=1), 0)
