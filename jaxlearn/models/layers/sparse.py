"""Sparse matrices built on the host, for the product of `jaxlearn_kernels.spmm`: message passing.

Both the matrix and its transpose are kept, so that forward and backward passes are the same
row-wise product. Shapes are static: surplus entries at the end belong to no row.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.spmm import (
    Epilogue,
    Pattern,
    Sparse,
    of_rows,
    softmax_rows,
    spmm,
    sum_rows,
)

__all__ = [
    "Epilogue",
    "Pattern",
    "Sparse",
    "from_dense",
    "from_entries",
    "interleaved",
    "of_rows",
    "softmax_rows",
    "spmm",
    "sum_rows",
    "to_dense",
]


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


def interleaved(matrices: Sequence[Sparse], *, shared: bool) -> Sparse:
    """P matrices n x m as one with P rows per row: row `i P + p` is row i of matrix p.

    Args:
        matrices: built on the host, of one shape.
        shared: whether all passes read the same m rows (`[n P, m]`); else pass p reads the rows
            `j P + p` of a taller x (`[n P, m P]`).

    Raises:
        ValueError: when the shapes differ or there is no matrix.

    Example:
        >>> one, two = from_dense(np.array([[1.0, 0.0]])), from_dense(np.array([[0.0, 2.0]]))
        >>> to_dense(interleaved([one, two], shared=True)).tolist()
        [[1.0, 0.0], [0.0, 2.0]]
        >>> to_dense(interleaved([one, two], shared=False)).tolist()
        [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]
    """
    shapes = {matrix.shape for matrix in matrices}
    if len(shapes) != 1:
        raise ValueError(f"interleaved needs matrices of one shape, found {sorted(shapes)}")
    ((height, width),) = shapes
    count, rows, columns, values = len(matrices), [], [], []
    for p, matrix in enumerate(matrices):
        real = np.asarray(matrix.pattern.rows) < height
        rows.append(np.asarray(matrix.pattern.rows)[real] * count + p)
        column = np.asarray(matrix.pattern.indices)[real]
        columns.append(column if shared else column * count + p)
        values.append(np.asarray(matrix.values)[real])
    shape = (height * count, width if shared else width * count)
    rows, columns, values = (np.concatenate(part) for part in (rows, columns, values))
    return from_entries(rows, columns, values, shape)


def to_dense(matrix: Sparse) -> jax.Array:
    """The same matrix as `[n, m]`; entries at one place add up."""
    n, m = matrix.shape
    at = jnp.zeros((n, m), matrix.values.dtype).at[matrix.pattern.rows, matrix.pattern.indices]
    return at.add(matrix.values, mode="drop")
