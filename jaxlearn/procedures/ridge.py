"""Linear layers in closed form, from sums over the examples that are gathered in pieces."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import axis


class Gram(NamedTuple):
    """Sums over examples: all that a least-squares fit needs to know of them.

    Attributes:
        zz: `Z^T Z [m, m]`.
        zy: `Z^T Y [m, outputs]`.
        count: examples.
    """

    zz: jax.Array
    zy: jax.Array
    count: jax.Array


def gram(z: jax.Array, y: jax.Array) -> Gram:
    """The sums of one piece; inside a `shard_map` over the data axis, of all devices' pieces.

    Args:
        z: `[examples, m]` features.
        y: `[examples, outputs]` targets.

    Raises:
        ValueError: when the numbers of examples differ.
    """
    if z.ndim != 2 or y.ndim != 2 or len(z) != len(y):
        raise ValueError(f"z [N, m] and y [N, outputs] are needed, found {z.shape} and {y.shape}")
    found = Gram(z.T @ z, z.T @ y, jnp.asarray(len(z), z.dtype))
    return lax.psum(found, axis.DATA) if axis.bound() else found


def accumulate(
    features: Callable[[jax.Array], jax.Array], x: jax.Array, y: jax.Array, pieces: int
) -> Gram:
    """The sums over all examples, of features made piece by piece in a scan.

    Features of only one piece exist at a time, so memory beyond the inputs does not grow with the
    number of examples.

    Args:
        features: `[n, ...] -> [n, m]`.
        x: `[examples, ...]`.
        y: `[examples, outputs]`.
        pieces: how many; they have to be equal.

    Raises:
        ValueError: when the examples do not divide by `pieces`.
    """
    if pieces < 1 or len(x) % pieces:
        raise ValueError(f"{len(x)} examples do not divide into {pieces} pieces")
    split = jax.tree.map(lambda leaf: leaf.reshape(pieces, -1, *leaf.shape[1:]), (x, y))
    first = jax.tree.map(lambda leaf: leaf[0], split)
    shapes = jax.eval_shape(lambda x, y: gram(features(x), y), *first)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(total: Gram, piece: tuple[jax.Array, jax.Array]) -> tuple[Gram, None]:
        x, y = piece
        return jax.tree.map(jnp.add, total, gram(features(x), y)), None

    return lax.scan(body, zeros, split)[0]


def total(parts: Iterable[Gram]) -> Gram:
    """The sum of several sums, such as those of minibatches that are read one after the other."""
    parts = list(parts)
    if not parts:
        raise ValueError("no sums to add")
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *parts)


def solve(sums: Gram, ridge: float | jax.Array) -> jax.Array:
    """`Omega = Y^T Z (Z^T Z + ridge I)^(-1) [outputs, m]`, by Cholesky.

    It minimises `|Z Omega^T - Y|^2 + ridge |Omega|^2`: a bundled network trained without gradients
    (Sehanobish et al., ICLR 2024, section 4).

    Raises:
        ValueError: when `ridge` is a number that is not positive.

    Example:
        >>> z, y = jnp.array([[1.0], [2.0]]), jnp.array([[2.0], [4.0]])
        >>> solve(gram(z, y), 5.0).tolist()
        [[1.0]]
    """
    if not isinstance(ridge, jax.Array) and ridge <= 0:
        raise ValueError(f"ridge must be above 0, found {ridge}")
    m = sums.zz.shape[0]
    factor = jax.scipy.linalg.cho_factor(sums.zz + ridge * jnp.eye(m, dtype=sums.zz.dtype))
    return jax.scipy.linalg.cho_solve(factor, sums.zy).T
