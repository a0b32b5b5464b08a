"""Which pairs of examples a loss compares."""

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Batch


def grouped(leaf: jax.Array, group: int | None) -> jax.Array:
    """`[B, ...]` as `[groups, group, ...]`, consecutive examples together; one group by default.

    Raises:
        ValueError: when the group does not divide the batch.
    """
    size = leaf.shape[0]
    if group is not None and (group < 1 or size % group):
        raise ValueError(f"a batch of {size} examples does not divide into groups of {group}")
    return leaf.reshape(-1, group or size, *leaf.shape[1:])


def weights(batch: Batch, group: int | None) -> jax.Array:
    """`batch["weight"]`, or ones, as `[groups, group]`."""
    ones = jnp.ones(batch["labels"].shape[0])
    return grouped(batch.get("weight", ones), group)
