"""Graph networks: convolutions that map one row per node to new rows.

A graph enters a model as `Nodes`: the rows and the matrix along which messages pass. Rows may be
`Sparse` (bags of words), which makes the first product cheap on CPU.

Several passes over one graph go through a layer at once: as rows `[nodes, P, features]` when their
inputs differ, and as a matrix of P rows per node (`layers.sparse.interleaved`) when their edges do.
"""

from collections.abc import Callable
from typing import NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from flax.linen import initializers

from jaxlearn.core import CONTEXT, Batch, Model
from jaxlearn.models.layers.sparse import (
    Sparse,
    from_entries,
    of_rows,
    softmax_rows,
    spmm,
    sum_rows,
)


class Beside(NamedTuple):
    """Rows `[scale * left_i, right_ip]`: P passes over nodes that share a part of their features.

    The product of the shared part with a kernel is computed once for all passes.

    Attributes:
        left: `[nodes, F]`, dense or `Sparse`.
        right: `[nodes, K]`, or `[nodes, P, K]` for P passes.
        scale: factor of the left part, `[nodes, 1]` or `[nodes, P, 1]`.
    """

    left: "jax.Array | np.ndarray | Sparse"
    right: jax.Array
    scale: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """`(nodes, F + K)` or `(nodes, P, F + K)`."""
        return (*self.right.shape[:-1], self.left.shape[-1] + self.right.shape[-1])


def beside(left: "jax.Array | np.ndarray | Sparse", right: jax.Array) -> Beside:
    """`[left, right]` side by side, for every pass that `right` has.

    Example:
        >>> rows = beside(jnp.ones((2, 3)), jnp.zeros((2, 4, 5)))
        >>> rows.shape, times(rows, jnp.ones((8, 6))).shape
        ((2, 4, 8), (2, 4, 6))
    """
    return Beside(left, right, jnp.ones((*right.shape[:-1], 1), right.dtype))


Rows = jax.Array | np.ndarray | Sparse | Beside


class Nodes(NamedTuple):
    """What a graph layer sees.

    Attributes:
        rows: `[nodes, features]`, dense, `Sparse` or `Beside`; `[nodes, P, features]` for P passes.
        matrix: `[nodes, nodes]`, entry (i, j) for a message from j to i; with P rows for each node,
            a layer gives P rows for each.
    """

    rows: Rows
    matrix: Sparse


def gcn_matrix(sources: np.ndarray, targets: np.ndarray, nodes: int, **padding) -> Sparse:
    """`D^-1/2 (A + I) D^-1/2`, with D the degrees of `A + I` (Kipf and Welling, ICLR 2017).

    Example:
        >>> matrix = gcn_matrix(np.array([0, 1]), np.array([1, 0]), 3)
        >>> matrix.values.tolist()
        [0.5, 0.5, 0.5, 0.5, 1.0]
    """
    sources, targets = _with_loops(sources, targets, nodes)
    scale = 1 / np.sqrt(np.bincount(targets, minlength=nodes))
    return from_entries(
        targets, sources, scale[targets] * scale[sources], (nodes, nodes), **padding
    )


def mean_matrix(sources: np.ndarray, targets: np.ndarray, nodes: int, **padding) -> Sparse:
    """`D^-1 A`, the mean over the neighbours; a node without any receives zeros."""
    degrees = np.maximum(np.bincount(targets, minlength=nodes), 1)
    return from_entries(targets, sources, 1 / degrees[targets], (nodes, nodes), **padding)


def attention_matrix(sources: np.ndarray, targets: np.ndarray, nodes: int, **padding) -> Sparse:
    """`A + I`: attention fills in its own values."""
    sources, targets = _with_loops(sources, targets, nodes)
    return from_entries(targets, sources, np.ones(len(targets)), (nodes, nodes), **padding)


def _with_loops(sources, targets, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    loops = np.arange(nodes)
    return np.concatenate([sources, loops]), np.concatenate([targets, loops])


MATRICES: dict[str, Callable[..., Sparse]] = {
    "gcn": gcn_matrix,
    "sage": mean_matrix,
    "gat": attention_matrix,
}
"""By convolution: from (sources, targets, number of nodes) to the matrix of its messages."""


def times(rows: Rows, kernel: jax.Array) -> jax.Array:
    """`rows @ kernel`, whether the rows are dense, sparse or in two parts."""
    if isinstance(rows, Beside):
        width = rows.left.shape[-1]
        shared = times(rows.left, kernel[:width])
        shared = shared.reshape(-1, *[1] * (rows.right.ndim - 2), kernel.shape[-1])
        return shared * rows.scale + rows.right @ kernel[width:]
    return spmm(rows, kernel) if isinstance(rows, Sparse) else jnp.matmul(rows, kernel)


@overload
def row_norm(rows: jax.Array | np.ndarray, eps: float = 1e-8) -> jax.Array: ...
@overload
def row_norm(rows: Sparse, eps: float = 1e-8) -> Sparse: ...
@overload
def row_norm(rows: Beside, eps: float = 1e-8) -> Beside: ...
def row_norm(rows: Rows, eps: float = 1e-8) -> Rows:
    """Every row divided by its length: `x / (||x||_2 + eps)`, over all axes but the first.

    Example:
        >>> row_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    if isinstance(rows, Beside):
        left = squared_lengths(rows.left).reshape(-1, *[1] * (rows.right.ndim - 1))
        right = jnp.sum(rows.right**2, -1, keepdims=True)
        scale = 1 / (jnp.sqrt(left * rows.scale**2 + right) + eps)
        return rows._replace(right=rows.right * scale, scale=rows.scale * scale)
    if isinstance(rows, Sparse):
        scale = 1 / (jnp.sqrt(squared_lengths(rows)) + eps)
        return rows._replace(values=rows.values * of_rows(rows.pattern, scale))
    squares = jnp.sum(rows**2, axis=tuple(range(1, rows.ndim)), keepdims=True)
    # the root of zero has no derivative: rows of zeros are kept out of it
    lengths = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return rows / (lengths + eps)


def squared_lengths(rows: "jax.Array | np.ndarray | Sparse") -> jax.Array:
    """`sum over j of x_ij^2`: `[nodes]`."""
    if isinstance(rows, Sparse):
        return sum_rows(rows.pattern, rows.values**2)
    return jnp.sum(jnp.square(rows), -1)


def norm_nodes(x: Nodes) -> Nodes:
    """`row_norm` of the rows of a graph, of every pass by itself."""
    if isinstance(x.rows, (Sparse, Beside)):
        return x._replace(rows=row_norm(x.rows))
    flat = x.rows.reshape(-1, x.rows.shape[-1])
    return x._replace(rows=row_norm(flat).reshape(x.rows.shape))


def of_targets(matrix: Sparse, rows: jax.Array) -> jax.Array:
    """What the node of each row of the matrix holds: `rows`, repeated where it has P per node."""
    times_more = matrix.shape[0] // rows.shape[0]
    return rows if times_more == 1 else jnp.repeat(rows, times_more, axis=0)


class GCN(linen.Module):
    """Graph convolution `M x W + b` with `M = D^-1/2 (A + I) D^-1/2`.

    Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017.
    """

    width: int

    @linen.compact
    def __call__(self, x: Nodes) -> Nodes:
        """Map rows `[nodes, features]` to `[nodes, width]`."""
        kernel = self.param("kernel", initializers.glorot_uniform(), (_features(x), self.width))
        bias = self.param("bias", initializers.zeros, (self.width,))
        return x._replace(rows=spmm(x.matrix, times(x.rows, kernel), bias=bias))


class SAGE(linen.Module):
    """`(mean over neighbours j of x_j) W_1 + b + x W_2`.

    Hamilton, Ying and Leskovec, "Inductive representation learning on large graphs", NeurIPS 2017.
    """

    width: int

    @linen.compact
    def __call__(self, x: Nodes) -> Nodes:
        """Map rows `[nodes, features]` to `[nodes, width]`."""
        shape = (_features(x), self.width)
        uniform = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        neighbours = self.param("neighbours", uniform, shape)
        own = self.param("own", uniform, shape)
        bias = self.param("bias", _uniform(shape[0] ** -0.5), (self.width,))
        # both products at once: sparse rows are read a single time
        sent, kept = jnp.split(times(x.rows, jnp.concatenate([neighbours, own], 1)), 2, axis=-1)
        return x._replace(rows=spmm(x.matrix, sent) + bias + of_targets(x.matrix, kept))


class GAT(linen.Module):
    """Attention over the neighbours and the node itself, `heads` times side by side.

    Per head `h_i = x_i W`, `a_ij = softmax over j of LeakyReLU(s . h_j + t . h_i)` with slope 0.2,
    and `y_i = sum_j a_ij h_j`; the heads are concatenated and a bias is added. Without `concat`
    every head has the whole width and their mean takes the place of the concatenation, as in a
    last layer. Velickovic et al., "Graph attention networks", ICLR 2018, equations 1 to 6.
    """

    width: int
    heads: int = 4
    concat: bool = True

    @linen.compact
    def __call__(self, x: Nodes) -> Nodes:
        """Map rows `[nodes, features]` to `[nodes, width]`."""
        size, rest = divmod(self.width, self.heads) if self.concat else (self.width, 0)
        if rest:
            raise ValueError(f"width {self.width} is no multiple of the {self.heads} heads")
        glorot = initializers.glorot_uniform()
        kernel = self.param("kernel", glorot, (_features(x), self.heads * size))
        source = self.param("source", glorot, (self.heads, size))
        target = self.param("target", glorot, (self.heads, size))
        bias = self.param("bias", initializers.zeros, (self.width,))
        h = times(x.rows, kernel)
        passes = h.shape[1:-1]
        h = h.reshape(-1, *passes, self.heads, size)
        to = of_targets(x.matrix, jnp.sum(h * target, -1))
        attention = self._attention(x.matrix, jnp.sum(h * source, -1), to)
        # one product per pass and head, as each has weights of its own
        weights, h = attention.reshape(len(attention), -1), h.reshape(len(h), -1, size)
        gathered = [
            spmm(x.matrix._replace(values=weights[:, k]), h[:, k]) for k in range(h.shape[1])
        ]
        y = jnp.concatenate(gathered, -1).reshape(-1, *passes, self.heads, size)
        y = y.reshape(*y.shape[:-2], self.width) if self.concat else y.mean(-2)
        return x._replace(rows=y + bias)

    @staticmethod
    def _attention(matrix: Sparse, source: jax.Array, target: jax.Array) -> jax.Array:
        pattern = matrix.pattern
        scores = source[pattern.indices] + of_rows(pattern, target)
        return softmax_rows(pattern, jax.nn.leaky_relu(scores, 0.2))


CONVOLUTIONS: dict[str, Callable[..., linen.Module]] = {"gcn": GCN, "sage": SAGE, "gat": GAT}
"""Convolution modules by name."""


class GraphLayer(linen.Module):
    """A convolution, with a ReLU behind it unless `relu=False`."""

    convolution: linen.Module
    relu: bool = True

    def __call__(self, x: Nodes) -> Nodes:
        """Map rows `[nodes, features]` to `[nodes, width]`."""
        y = self.convolution(x)
        return y._replace(rows=jax.nn.relu(y.rows)) if self.relu else y


def nodes_of(batch: Batch) -> Nodes:
    """The graph that the examples of a batch are nodes of: `context["features"]`, `["matrix"]`."""
    context = batch[CONTEXT]
    return Nodes(context["features"], context["matrix"])


def with_graph(batch: Batch) -> Batch:
    """A batch of node ids with the whole graph as its inputs, for `prepared` and `at_nodes`."""
    return batch | {"inputs": (nodes_of(batch), batch["inputs"])}


def at_nodes(model: Model) -> Model:
    """A graph model read at some nodes: `(graph, ids [B]) -> rows [B, width]`."""

    def init(key, x):
        return model.init(key, x[0])

    def apply(params, state, x, *, train: bool = False, key=None):
        graph, ids = x
        y, state = model.apply(params, state, graph, train=train, key=key)
        return y.rows[ids], state

    return Model(init, apply)


def _features(x: Nodes) -> int:
    return x.rows.shape[-1]


def _uniform(bound: float):
    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init
