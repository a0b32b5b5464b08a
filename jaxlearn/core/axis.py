"""The mesh axis that the batch is split over.

The same step runs on one device, on virtual devices and on a pod: code asks here for a mean over
the devices, and outside of `shard_map` there is just one.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core.contracts import PyTree

DATA = "data"


def bound() -> bool:
    """Whether this code is being traced inside a `shard_map` over the data axis."""
    try:
        lax.axis_index(DATA)
    except NameError:
        return False
    return True


def index() -> jax.Array:
    """This device's position on the data axis, 0 when there is none."""
    return lax.axis_index(DATA) if bound() else jnp.int32(0)


def mean(tree: PyTree) -> PyTree:
    """Average the floating-point leaves over the data axis; other leaves pass unchanged.

    Leaves that are not floating point (counters, masks) must already agree between devices.
    """
    if not bound():
        return tree
    leaves, structure = jax.tree.flatten(tree)
    floating = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    averaged = lax.pmean([leaves[i] for i in floating], DATA)
    for i, leaf in zip(floating, averaged, strict=True):
        leaves[i] = leaf
    return structure.unflatten(leaves)
