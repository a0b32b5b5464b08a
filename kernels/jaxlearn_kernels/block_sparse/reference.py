"""The definition in plain JAX: a dense product with the masked kernel."""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.block_sparse.blocks import expanded


def compute_dtype(*arrays: jax.Array) -> jnp.dtype:
    """Sums are made in float32, or in float64 where an operand is."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)


def times(x: jax.Array, w: jax.Array, mask: jax.Array) -> jax.Array:
    """``x (m w)`` of ``x [N, n]`` and ``w [n, m]``."""
    masked = jnp.where(expanded(mask, w.shape), w, jnp.zeros_like(w))
    wide = compute_dtype(x, w)
    return jnp.matmul(x, masked, preferred_element_type=wide).astype(jnp.result_type(x, w))


def back(dy: jax.Array, w: jax.Array, mask: jax.Array) -> jax.Array:
    """``dy (m w)'``, the cotangent of x."""
    return times(dy, w.T, mask.T)


def outer(x: jax.Array, dy: jax.Array, mask: jax.Array) -> jax.Array:
    """``m (x' dy)``, the cotangent of w."""
    wide = compute_dtype(x, dy)
    full = jnp.matmul(x.T, dy, preferred_element_type=wide).astype(jnp.result_type(x, dy))
    return jnp.where(expanded(mask, full.shape), full, jnp.zeros_like(full))
