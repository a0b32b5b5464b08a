"""The random directions that features project on."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import Key

Norms = Literal["chi", "fixed"]


def gaussian(key: Key, count: int, inputs: int) -> jax.Array:
    """`G [count, inputs]` with independent standard normal entries."""
    return jax.random.normal(key, (count, inputs))


def orthogonal(key: Key, count: int, inputs: int, norms: Norms = "chi") -> jax.Array:
    """`G [count, inputs]` whose rows are orthogonal within every block of `inputs` rows.

    Each block is a uniformly random rotation; its rows get norms of Gaussian vectors (`"chi"`, so
    that every row on its own is standard normal) or all the norm `sqrt(inputs)` (`"fixed"`).

    Raises:
        ValueError: when `norms` is neither.

    Example:
        >>> g = orthogonal(jax.random.key(0), 3, 3, "fixed")
        >>> bool(jnp.allclose(g @ g.T, 3 * jnp.eye(3), atol=1e-5))
        True
    """
    if norms not in ("chi", "fixed"):
        raise ValueError(f"norms must be 'chi' or 'fixed', found {norms!r}")
    direction_key, norm_key = jax.random.split(key)
    blocks = -(-count // inputs)
    square = jax.random.normal(direction_key, (blocks, inputs, inputs))
    q, r = jnp.linalg.qr(square)
    # without the signs of the diagonal of r, q is not uniform over the rotations
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    rows = (q * jnp.sign(diagonal)[:, None]).reshape(-1, inputs)[:count]
    if norms == "fixed":
        return rows * jnp.sqrt(inputs).astype(rows.dtype)
    lengths = jnp.linalg.norm(jax.random.normal(norm_key, (count, inputs)), axis=-1)
    return rows * lengths[:, None]


def directions(key: Key, count: int, inputs: int, blocks: bool) -> jax.Array:
    """Orthogonal within blocks or independent."""
    return (orthogonal if blocks else gaussian)(key, count, inputs)
