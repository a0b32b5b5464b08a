"""Sparse matrices in compressed rows, and their product with dense ones: message passing.

Both the matrix and its transpose are kept, so that forward and backward passes are the same
row-wise product. Shapes are static: surplus entries at the end belong to no row.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.sparse import BCSR


class Pattern(NamedTuple):
    """Where the E entries of an n x m matrix are, row by row.

    Attributes:
        indptr: int32 `[n + 1]`; row i has the entries `indptr[i]` to `indptr[i + 1] - 1`.
        indices: int32 `[E]`, the column of each entry (0 for padding).
        rows: int32 `[E]`, the row of each entry (n for padding), ascending.
    """

    indptr: Any  # arrays of numpy when built on the host, of JAX inside a step
    indices: Any
    rows: Any


class Sparse(NamedTuple):
    """An n x m matrix.

    Attributes:
        pattern: its entries by row.
        transposed: the entries of its transpose by row.
        order: int32 `[E]`; entry k of the transpose is entry `order[k]` of the matrix.
        values: float `[E]`, 0 for padding.
    """

    pattern: Pattern
    transposed: Pattern
    order: Any
    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, m)`."""
        return self.pattern.indptr.shape[0] - 1, self.transposed.indptr.shape[0] - 1


def from_entries(
    rows: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    shape: tuple[int, int],
    *,
    pad_to: int | None = None,
) -> Sparse:
    """The matrix with `values[k]` at `(rows[k], columns[k])`, built on the host as numpy arrays.

    Args:
        rows: int `[E]`, in any order.
        columns: int `[E]`.
        values: `[E]`.
        shape: `(n, m)`.
        pad_to: number of entries to pad to, so that different matrices share one compilation.

    Raises:
        ValueError: when an entry lies outside of the shape or `pad_to` is too small.

    Example:
        >>> matrix = from_entries(np.array([1, 0]), np.array([0, 2]), np.array([5.0, 7.0]), (2, 3))
        >>> spmm(matrix, jnp.eye(3)).tolist()
        [[0.0, 0.0, 7.0], [5.0, 0.0, 0.0]]
    """
    rows, columns = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    for name, ids, size in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        if len(ids) and not (ids.min() >= 0 and ids.max() < size):
            raise ValueError(f"{name} span {ids.min()}..{ids.max()}, expected 0..{size - 1}")
    padding = 0 if pad_to is None else pad_to - len(rows)
    if padding < 0:
        raise ValueError(f"pad_to={pad_to} is less than the {len(rows)} entries of the matrix")
    first = np.lexsort((columns, rows))
    rows, columns = rows[first], columns[first]
    turned = np.lexsort((rows, columns))
    order = np.concatenate([turned, np.arange(len(rows), len(rows) + padding)]).astype(np.int32)
    data = np.pad(np.asarray(values, np.float32)[first], (0, padding))
    pattern = _pattern(rows, columns, shape[0], padding)
    return Sparse(pattern, _pattern(columns[turned], rows[turned], shape[1], padding), order, data)


def _pattern(rows: np.ndarray, columns: np.ndarray, height: int, padding: int) -> Pattern:
    indptr = np.zeros(height + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=height), out=indptr[1:])
    indices = np.pad(columns.astype(np.int32), (0, padding))
    owners = np.pad(rows.astype(np.int32), (0, padding), constant_values=height)
    return Pattern(indptr, indices, owners)


def from_dense(matrix: np.ndarray, *, pad_to: int | None = None) -> Sparse:
    """The entries of a matrix that are not zero."""
    rows, columns = np.nonzero(matrix)
    return from_entries(rows, columns, matrix[rows, columns], matrix.shape, pad_to=pad_to)


def to_dense(matrix: Sparse) -> jax.Array:
    """The same matrix as `[n, m]`; entries at one place add up."""
    n, m = matrix.shape
    at = jnp.zeros((n, m), matrix.values.dtype).at[matrix.pattern.rows, matrix.pattern.indices]
    return at.add(matrix.values, mode="drop")


def spmm(matrix: Sparse, x: jax.Array) -> jax.Array:
    """The product `y_i = sum over entries (i, j) of values_ij x_j`, `[m, d] -> [n, d]`.

    Differentiable in `matrix.values` and in `x`; the gradient with respect to `x` is the product
    of the transpose with the incoming gradient. No entry is added to a shared accumulator on CPU
    and TPU, so results are the same at every run; on GPU that needs
    `--xla_gpu_deterministic_ops=true`.

    Raises:
        ValueError: when `x` has other than m rows.
    """
    if x.ndim != 2 or x.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"a {matrix.shape[0]} x {matrix.shape[1]} matrix needs x of shape "
            f"[{matrix.shape[1]}, d], found {list(x.shape)}"
        )
    return _product(matrix._replace(values=None), matrix.values, x)


@jax.custom_vjp
def _product(structure: Sparse, values: jax.Array, x: jax.Array) -> jax.Array:
    return multiply(structure.pattern, values, x)


def _forward(structure: Sparse, values: jax.Array, x: jax.Array):
    return multiply(structure.pattern, values, x), (structure, values, x)


def _backward(saved, g: jax.Array):
    structure, values, x = saved
    pattern = structure.pattern
    along = jnp.sum(of_rows(pattern, g) * x[pattern.indices], -1)
    return None, along, multiply(structure.transposed, values[structure.order], g)


_product.defvjp(_forward, _backward)


def multiply(pattern: Pattern, values: jax.Array, x: jax.Array) -> jax.Array:
    """`spmm` without a derivative: a compiled CSR product on CPU, sorted segment sums elsewhere."""
    return lax.platform_dependent(pattern, values, x, cpu=_by_rows, default=by_segments)


def _by_rows(pattern: Pattern, values: jax.Array, x: jax.Array) -> jax.Array:
    shape = (pattern.indptr.shape[0] - 1, x.shape[0])
    return BCSR((values, pattern.indices, pattern.indptr), shape=shape) @ x


def by_segments(pattern: Pattern, values: jax.Array, x: jax.Array) -> jax.Array:
    """The same product in plain array operations: gather, scale and add up by row."""
    return sum_rows(pattern, values[:, None] * x[pattern.indices])


def sum_rows(pattern: Pattern, entries: jax.Array) -> jax.Array:
    """The sum of `[E, ...]` over the entries of each row: `[n, ...]`."""
    size = pattern.indptr.shape[0] - 1
    return jax.ops.segment_sum(entries, pattern.rows, size, indices_are_sorted=True)


def softmax_rows(pattern: Pattern, scores: jax.Array) -> jax.Array:
    """Softmax of `[E, ...]` over the entries of each row; 0 for padding."""
    size = pattern.indptr.shape[0] - 1
    highest = jax.ops.segment_max(scores, pattern.rows, size, indices_are_sorted=True)
    powers = jnp.exp(scores - of_rows(pattern, lax.stop_gradient(highest)))
    real = (pattern.rows < size).reshape(-1, *[1] * (scores.ndim - 1))
    return jnp.where(real, powers / of_rows(pattern, sum_rows(pattern, powers), padding=1), 0)


def of_rows(pattern: Pattern, x: jax.Array, padding: float = 0) -> jax.Array:
    """What `x` `[n, ...]` holds for the row of each entry: `[E, ...]`."""
    return jnp.asarray(x).at[pattern.rows].get(mode="fill", fill_value=padding)
