"""Sizes of the sparse product, shared by tests and benchmarks, and random graphs of a size."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn_kernels.spmm.matrix import Sparse, from_coordinates, sum_rows


class Shape(NamedTuple):
    """An n x m matrix with E entries times ``[m, d]``, and why it is here."""

    name: str
    rows: int
    columns: int
    entries: int
    width: int


ODD = (
    Shape("one of everything", 1, 1, 1, 1),
    Shape("no entry", 3, 4, 0, 5),
    Shape("one row", 1, 9, 40, 3),
    Shape("one column", 9, 1, 40, 3),
    Shape("exactly one block", 128, 128, 128, 128),
    Shape("one over a block and a register", 129, 7, 257, 129),
    Shape("more columns than a program holds", 5, 6, 30, 600),
    Shape("mostly empty rows", 300, 10, 20, 4),
)
"""Small sizes at which a kernel that assumes whole blocks goes wrong."""

BENCH = (
    Shape("10 thousand entries", 1_000, 1_000, 10_000, 128),
    Shape("100 thousand entries", 10_000, 10_000, 100_000, 128),
    Shape("GitHub social network", 37_700, 37_700, 578_006, 128),
    Shape("1 million entries", 100_000, 100_000, 1_000_000, 128),
)
"""Square matrices, for chains of products; the third has the size of ForwardGNN's largest graph."""


def random_graph(shape: Shape, seed: int = 0, padding: float = 0.0) -> Sparse:
    """A graph of this size with some hubs, each row with weights that are positive and sum to 1.

    ``padding`` is the share of entries that belong to no row. The k-th most frequent row has about
    ``E / (2 sqrt(k n))`` entries.

    >>> random_graph(Shape("", 2, 3, 4, 1)).shape
    (2, 3)
    """
    keys = jax.random.split(jax.random.key(seed), 4)
    size = (shape.entries,)
    draw = jax.random.uniform(keys[0], size)
    rows = jnp.minimum((draw**2 * shape.rows).astype(jnp.int32), shape.rows - 1)
    rows = jnp.where(jax.random.uniform(keys[1], size) < padding, shape.rows, rows)
    columns = jax.random.randint(keys[2], size, 0, shape.columns)
    values = jax.random.uniform(keys[3], size, minval=0.1)
    matrix = from_coordinates(rows, columns, values, (shape.rows, shape.columns))
    totals = jnp.append(sum_rows(matrix.pattern, matrix.values), 1)
    return matrix._replace(values=matrix.values / totals[matrix.pattern.rows])
