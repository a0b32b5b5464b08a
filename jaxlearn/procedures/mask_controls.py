"""Masks that a lottery ticket is compared with: as many weights, in other places.

The controls of Frankle & Carbin, ICLR 2019, and of their later code: the ticket's own number of
weights per layer at random, the same total at random over the network, and the same density in
every layer.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.transforms.sparsity.prunable import Masks
from jaxlearn.transforms.sparsity.select import largest, largest_each

AMONG = ("layer", "network", "even")


def shuffled(masks: Masks, key: Key, among: str = "layer") -> Masks:
    """As many active weights at random places.

    Args:
        masks: of the ticket.
        key: for the places.
        among: `"layer"` keeps every leaf's count; `"network"` keeps the total and draws over all
            leaves; `"even"` keeps the total and gives every leaf the same density, to one weight.

    Raises:
        ValueError: for an unknown `among`.

    Example:
        >>> masks = {"a": jnp.array([True, False, False]), "b": None}
        >>> int(shuffled(masks, jax.random.key(0))["a"].sum())
        1
    """
    if among not in AMONG:
        raise ValueError(f"unknown among={among!r}, expected one of {AMONG}")
    active, structure = jax.tree.flatten(masks)
    keys = jax.random.split(key, len(active))
    draws = [jax.random.uniform(k, mask.shape) for k, mask in zip(keys, active, strict=True)]
    counts = [jnp.sum(mask, dtype=jnp.int32) for mask in active]
    everywhere = [jnp.ones(mask.shape, bool) for mask in active]
    if among == "layer":
        found = largest_each(draws, counts, everywhere)
    else:
        scores = draws if among == "network" else [_place(draw) for draw in draws]
        found = largest(scores, sum(counts), everywhere)
    return structure.unflatten(found)


def _place(draw: jax.Array) -> jax.Array:
    """A random order of a leaf, spread evenly over 0 to 1: its largest share is that of all."""
    order = jnp.argsort(draw.ravel())
    rank = jnp.zeros(draw.size).at[order].set(jnp.arange(draw.size) + 0.5)
    return (rank / draw.size).reshape(draw.shape)
