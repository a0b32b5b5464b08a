"""Remove the weakest weights of a leaf and grow as many others."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlearn.transforms.sparsity.select import largest_each


def regenerate(
    mask: jax.Array, weight: jax.Array, growth: jax.Array, count: jax.Array | int
) -> jax.Array:
    """Zero-cost neuroregeneration of one leaf (Liu et al., NeurIPS 2021, section 4.2).

    The `count` smallest `|weight|` among the active entries are removed, then `count` entries are
    activated where `growth` is largest among all that are now inactive, those just removed
    included. The number of active entries does not change.

    Args:
        mask: bool, the active entries.
        weight: current weights.
        growth: non-negative scores, such as the magnitude of the dense gradient.
        count: how many to swap, at most as many as are active.

    Example:
        >>> mask = jnp.array([True, True, False, False])
        >>> weight, gradient = jnp.array([0.1, 2.0, 0.0, 0.0]), jnp.array([0.0, 0.0, 3.0, -5.0])
        >>> regenerate(mask, weight, jnp.abs(gradient), 1)
        Array([False,  True, False,  True], dtype=bool)
    """
    return regenerate_each([mask], [weight], [growth], [count])[0]


def regenerate_each(
    masks: Sequence[jax.Array],
    weights: Sequence[jax.Array],
    growths: Sequence[jax.Array],
    counts: Sequence[jax.Array | int],
) -> list[jax.Array]:
    """`regenerate` on every leaf; all leaves share the passes of one selection."""
    stay = [jnp.sum(mask) - count for mask, count in zip(masks, counts, strict=True)]
    kept = largest_each([jnp.abs(weight) for weight in weights], stay, masks)
    grown = largest_each(growths, counts, [~mask for mask in kept])
    return [old | new for old, new in zip(kept, grown, strict=True)]
