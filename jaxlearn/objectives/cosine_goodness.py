"""Goodness as the angle to a fixed random direction, and the contrast of two such angles.

Momeni, Rahmani, Malléjac, del Hougne, Fleury, "Backpropagation-free training of deep physical
neural networks", Science 382, 2023 (arXiv 2304.11042): the layer's output for the right label turns
towards the direction of the layer, that for a wrong label away from it.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key


def direction(key: Key, size: int) -> jax.Array:
    """`xi / ||xi||` with `xi ~ N(0, I)`, `[size]`: a direction like any other.

    Example:
        >>> float(jnp.linalg.norm(direction(jax.random.key(0), 20)).round(5))
        1.0
    """
    drawn = jax.random.normal(key, (size,))
    return drawn / jnp.linalg.norm(drawn)


def cosine_goodness(
    h: jax.Array, xi: jax.Array, *, absolute: bool = True, eps: float = 1e-6
) -> jax.Array:
    """`g_i = cos(|h_i|, xi)`, or `cos(h_i, xi)` without `absolute`: `[B, ...] -> [B]` in [-1, 1].

    The product of the lengths is not let below `eps`, so a row of zeros has goodness 0 and no
    gradient. Being blind to the length of `h`, it needs no normalisation between layers.

    Raises:
        ValueError: when a row has another number of entries than `xi`.

    Example:
        >>> h = jnp.array([[2.0, 0.0], [0.0, -3.0], [0.0, 0.0]])
        >>> cosine_goodness(h, jnp.array([0.6, 0.8])).round(3).tolist()
        [0.6000000238418579, 0.800000011920929, 0.0]
    """
    rows = h.reshape(len(h), -1)
    if rows.shape[1:] != xi.shape:
        raise ValueError(f"rows of {rows.shape[1]} entries have no angle to xi {list(xi.shape)}")
    rows = jnp.abs(rows) if absolute else rows
    squares = jnp.sum(rows**2, -1) * jnp.sum(xi**2)
    return rows @ xi / jnp.sqrt(jnp.maximum(squares, eps**2))


def contrast_loss(
    positive: jax.Array, negative: jax.Array, theta: float | jax.Array = 4.0
) -> jax.Array:
    """`l_i = log(1 + exp(-theta (g_i+ - g_i-)))`, one number per example.

    It is log 2 where both have the same goodness and at least `log(1 + exp(-2 theta))` for cosines.

    Args:
        positive: goodness with the right label, `[B]`.
        negative: goodness with a wrong label, `[B]`.
        theta: how steep; 4 in the acoustic, microwave and digital systems, 5 in the optical one.

    Example:
        >>> contrast_loss(jnp.ones(1), jnp.ones(1)).round(4).tolist()
        [0.6930999755859375]
    """
    if jnp.shape(positive) != jnp.shape(negative):
        raise ValueError(
            f"expected as many negatives as positives, found {jnp.shape(positive)} and "
            f"{jnp.shape(negative)}"
        )
    return jax.nn.softplus(-theta * (positive - negative))
