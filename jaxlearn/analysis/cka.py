"""Linear centred kernel alignment: how alike two representations of the same examples are.

Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations Revisited", ICML
2019, section 3.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def linear_cka(x: jax.Array, y: jax.Array) -> jax.Array:
    """`|Y^T X|^2 / (|X^T X| |Y^T Y|)` in Frobenius norms, of features centred over the examples.

    1 for representations that are a rotation and a common scale apart, 0 for uncorrelated ones.
    A constant representation gives 0.

    Args:
        x: `[examples, ...]`; everything after axis 0 is flattened to features.
        y: `[examples, ...]`, of other features perhaps.

    Raises:
        ValueError: when the numbers of examples differ.

    Example:
        >>> x = jax.random.normal(jax.random.key(0), (10, 3))
        >>> bool(jnp.isclose(linear_cka(x, 2 * x[:, ::-1] + 1), 1))
        True
    """
    if len(x) != len(y):
        raise ValueError(f"both need the same examples: found {len(x)} and {len(y)} rows")
    a, b = _gram(x), _gram(y)
    length = jnp.linalg.norm(a) * jnp.linalg.norm(b)
    return jnp.where(length > 0, jnp.vdot(a, b) / jnp.where(length > 0, length, 1), 0)


def cka_matrix(first: Sequence[jax.Array], second: Sequence[jax.Array]) -> jax.Array:
    """`linear_cka` of every representation of one network with every one of another.

    Args:
        first: m representations `[examples, ...]`, such as a network's layers.
        second: n representations of the same examples.

    Returns:
        `[m, n]`.
    """
    return jnp.array([[linear_cka(x, y) for y in second] for x in first])


def _gram(x: jax.Array) -> jax.Array:
    """Products of centred rows: their inner product is `|Y^T X|^2` at the cost of n^2 numbers."""
    flat = jnp.asarray(x, jnp.result_type(float)).reshape(len(x), -1)
    centred = flat - flat.mean(0)
    return jnp.matmul(centred, centred.T, precision="highest")
