"""Typed PRNG keys as plain arrays and back, for all that handles only numbers."""

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import PyTree


def is_key(leaf: object) -> bool:
    """Whether a leaf (or its shape) is a typed PRNG key."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def unwrap(tree: PyTree) -> PyTree:
    """Every typed key replaced by its uint32 data.

    Example:
        >>> unwrap({"key": jax.random.key(3)})["key"].tolist()
        [0, 3]
    """
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def rewrap(raw: PyTree, like: PyTree) -> PyTree:
    """The inverse of `unwrap`: keys where `like` has keys, of the same kind."""

    def one(data: jax.Array, leaf: jax.Array) -> jax.Array:
        kind = jax.random.key_impl(leaf) if is_key(leaf) else None
        return jax.random.wrap_key_data(data, impl=kind) if kind else data

    return jax.tree.map(one, raw, like)
