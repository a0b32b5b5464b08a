"""Random keys for what belongs to examples, and draws for what belongs to parameters.

A rule gets one key per step, the same on every device. Draws that belong to examples are derived
from the examples' own positions in the data set, so that they do not depend on how a batch is split
over devices or microbatches.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import axis
from jaxlearn.core.contracts import Batch, Key, PyTree
from jaxlearn.core.trees import batch_size


def for_examples(key: Key, batch: Batch) -> Key:
    """One key for this group of examples, different for every shard and microbatch.

    Folds in the data-set position of the first example (`batch["index"]`), or the device's position
    on the data axis when the batch does not say.
    """
    group = batch["index"][0] if "index" in batch else axis.index()
    return jax.random.fold_in(key, group)


def each_example(key: Key, batch: Batch) -> Key:
    """`[batch]` keys, one per example: `fold_in(key, index)`, wherever it stands in the batch.

    Without `batch["index"]` the place in the global batch stands in for it.

    Example:
        >>> batch = {"inputs": jnp.zeros((2, 3)), "index": jnp.array([7, 9])}
        >>> each_example(jax.random.key(0), batch).shape
        (2,)
    """
    size = batch_size(batch)
    position = batch.get("index", axis.index() * size + jnp.arange(size))
    return jax.vmap(jax.random.fold_in, (None, 0))(key, position)


def normal_like(key: Key, tree: PyTree, at_least: jax.typing.DTypeLike | None = None) -> PyTree:
    """Standard normal draws in the shapes of a tree, from a key of its own for every leaf.

    Args:
        key: the same on every device, and then so are the draws.
        tree: floating point arrays.
        at_least: the smallest dtype to draw in; by default each leaf's own.

    Example:
        >>> normal_like(jax.random.key(0), {"w": jnp.zeros((2, 3))})["w"].shape
        (2, 3)
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves)) if leaves else []
    kind = lambda leaf: jnp.promote_types(leaf.dtype, at_least or leaf.dtype)
    pairs = zip(keys, leaves, strict=True)
    return structure.unflatten([jax.random.normal(k, leaf.shape, kind(leaf)) for k, leaf in pairs])
