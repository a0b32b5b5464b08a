"""The mesh axis that the batch is split over.

The same step runs on one device, on virtual devices and on a pod: code asks here for a mean over
the devices, and outside of `shard_map` there is just one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlearn.core.contracts import PyTree

SMALL = 2**20
"""Bytes up to which a leaf travels with others: copying it costs less than waiting for it."""
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


def devices() -> int:
    """How many devices share the batch."""
    return lax.axis_size(DATA) if bound() else 1


def gather(tree: PyTree) -> PyTree:
    """The rows of all devices, in the order of the devices; axis 0 of every leaf is the examples.

    Example:
        >>> gather(jnp.arange(3)).tolist()
        [0, 1, 2]
    """
    if not bound():
        return tree
    return jax.tree.map(lambda leaf: lax.all_gather(leaf, DATA, tiled=True), tree)


def mean(tree: PyTree) -> PyTree:
    """Average the floating-point leaves over the data axis; other leaves pass unchanged.

    Leaves that are not floating point (counters, masks) must already agree between devices. Small
    leaves travel as one vector per dtype: compilers put no more than a few hundred arrays into one
    reduction, and deep networks with local heads have thousands.
    """
    if not bound():
        return tree
    leaves, structure = jax.tree.flatten(tree)
    floating = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    small: dict[jnp.dtype, list[int]] = {}
    for i in floating:
        if leaves[i].nbytes <= SMALL:
            small.setdefault(leaves[i].dtype, []).append(i)
    vectors = [jnp.concatenate([leaves[i].ravel() for i in group]) for group in small.values()]
    large = [i for i in floating if leaves[i].nbytes > SMALL]
    vectors, averaged = lax.pmean((vectors, [leaves[i] for i in large]), DATA)
    for group, vector in zip(small.values(), vectors, strict=True):
        ends = np.cumsum([leaves[i].size for i in group])[:-1]
        for i, part in zip(group, jnp.split(vector, ends), strict=True):
            leaves[i] = part.reshape(leaves[i].shape)
    for i, leaf in zip(large, averaged, strict=True):
        leaves[i] = leaf
    return structure.unflatten(leaves)
