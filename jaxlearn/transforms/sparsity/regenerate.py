"""Remove the weakest weights of a leaf and grow as many others."""

from collections.abc import Callable, Sequence

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


Removal = Callable[
    [Sequence[jax.Array], Sequence[jax.Array], Sequence[jax.Array | int]], list[jax.Array]
]
"""`removal(masks, weights, counts)`: the masks of what stays when each leaf loses its count."""


def smallest(
    masks: Sequence[jax.Array], weights: Sequence[jax.Array], counts: Sequence[jax.Array | int]
) -> list[jax.Array]:
    """Remove the smallest `|w|`."""
    stay = [jnp.sum(mask) - count for mask, count in zip(masks, counts, strict=True)]
    return largest_each([jnp.abs(weight) for weight in weights], stay, masks)


def nearest_zero_of_each_sign(
    masks: Sequence[jax.Array], weights: Sequence[jax.Array], counts: Sequence[jax.Array | int]
) -> list[jax.Array]:
    """Remove the smallest positive and the largest negative weights, half of the count each.

    The removal of SET (Mocanu et al., Nature Communications 2018, Algorithm 1). An odd one is
    positive, and where one sign has too few weights the other gives the rest, so that the count is
    exact. A weight of 0 counts as positive.
    """
    above = [mask & (weight >= 0) for mask, weight in zip(masks, weights, strict=True)]
    below = [mask & (weight < 0) for mask, weight in zip(masks, weights, strict=True)]
    sizes = [jnp.abs(weight) for weight in weights]
    stay: tuple[list[jax.Array], list[jax.Array]] = ([], [])
    for up, down, count in zip(above, below, counts, strict=True):
        ups, downs = jnp.sum(up, dtype=jnp.int32), jnp.sum(down, dtype=jnp.int32)
        half = jnp.clip((count + 1) // 2, count - downs, ups)
        stay[0].append(ups - half)
        stay[1].append(downs - (count - half))
    kept = largest_each([*sizes, *sizes], [*stay[0], *stay[1]], [*above, *below])
    return [up | down for up, down in zip(kept[: len(sizes)], kept[len(sizes) :], strict=True)]


REMOVALS: dict[str, Removal] = {"magnitude": smallest, "set": nearest_zero_of_each_sign}


def regenerate_each(
    masks: Sequence[jax.Array],
    weights: Sequence[jax.Array],
    growths: Sequence[jax.Array],
    counts: Sequence[jax.Array | int],
    removal: Removal = smallest,
) -> list[jax.Array]:
    """`regenerate` on every leaf; all leaves share the passes of one selection."""
    kept = removal(masks, weights, counts)
    grown = largest_each(growths, counts, [~mask for mask in kept])
    return [old | new for old, new in zip(kept, grown, strict=True)]
