"""Kernels that features estimate, in closed form."""

import jax
import jax.numpy as jnp


def arc_cosine(x: jax.Array, w: jax.Array) -> jax.Array:
    """`E[relu(g.x) relu(g.w)] = |x||w| / (2 pi) (sin t + (pi - t) cos t)`, `t` the angle.

    The arc-cosine kernel of order 1 (Cho and Saul, 2009), halved; what ReLU features estimate.

    Args:
        x: `[..., inputs]`.
        w: `[rows, inputs]`.

    Returns:
        `[..., rows]`.

    Example:
        >>> found = arc_cosine(jnp.array([2.0, 0.0]), jnp.array([[3.0, 0.0], [-3.0, 0.0]]))
        >>> bool(jnp.allclose(found, jnp.array([3.0, 0.0]), atol=1e-6))
        True
    """
    norms = jnp.linalg.norm(x, axis=-1)[..., None] * jnp.linalg.norm(w, axis=-1)
    cosine = jnp.clip(x @ w.T / jnp.where(norms > 0, norms, 1), -1, 1)
    angle = jnp.arccos(cosine)
    return norms / (2 * jnp.pi) * (jnp.sin(angle) + (jnp.pi - angle) * cosine)
