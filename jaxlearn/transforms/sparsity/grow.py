"""Which inactive weights to activate, and the event that swaps them for the weakest active ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.transforms.sparsity.regenerate import REMOVALS, Removal, regenerate_each
from jaxlearn.transforms.sparsity.schedules import Rate
from jaxlearn.transforms.sparsity.sparse import Event, Moment, Staged

Growth = Callable[[Moment], list[jax.Array]]
"""`growth(moment)`: non-negative scores per leaf; the largest are grown."""


def by_gradient(moment: Moment) -> list[jax.Array]:
    """`|dL/dw|`, the dense gradient at the masked weights, without weight decay."""
    return [jnp.abs(grad) for grad in moment.grads]


def at_random(moment: Moment) -> list[jax.Array]:
    """Uniform draws.

    Raises:
        ValueError: when the transform was given no key.
    """
    if moment.key is None:
        raise ValueError("random growth needs a key: pass key=jax.random.key(seed)")
    keys = jax.random.split(moment.key, len(moment.masks))
    return [
        jax.random.uniform(key, mask.shape) for key, mask in zip(keys, moment.masks, strict=True)
    ]


def by_momentum(moment: Moment) -> list[jax.Array]:
    """`|t|` with `t <- decay * t + dL/dw`, the trend of the dense gradient.

    The growth of sparse momentum (Dettmers & Zettlemoyer, arXiv 1907.04840), within each leaf.

    Raises:
        ValueError: when the transform keeps no trend.
    """
    if moment.trend is None:
        raise ValueError("growth by momentum needs a trend: pass trend_decay=0.9 to `sparse`")
    return [jnp.abs(trend) for trend in moment.trend]


TWO_ULPS = 2 * float(jnp.finfo(jnp.float32).eps)
"""What the rounding of a rate and of its product with a count may come to, as a share."""
GROWTHS: dict[str, Growth] = {
    "gradient": by_gradient,
    "random": at_random,
    "momentum": by_momentum,
}


def swap(
    rate: Rate,
    growth: str | Growth = "gradient",
    *,
    removal: str | Removal = "magnitude",
    rounding: Callable = jnp.ceil,
) -> Event:
    """Swap `rounding(rate(count) * nnz_l)` weights of every leaf, see `regenerate`.

    Args:
        rate: the share of the active weights to swap.
        growth: `"gradient"`, `"random"`, `"momentum"` or a function.
        removal: `"magnitude"`, `"set"` (`nearest_zero_of_each_sign`) or a function.
        rounding: to whole weights; GraNet rounds up, RigL down.

    Raises:
        ValueError: for an unknown growth or removal.
    """
    if not callable(growth) and growth not in GROWTHS:
        raise ValueError(f"unknown growth {growth!r}, expected one of {sorted(GROWTHS)}")
    if not callable(removal) and removal not in REMOVALS:
        raise ValueError(f"unknown removal {removal!r}, expected one of {sorted(REMOVALS)}")
    removed = removal if callable(removal) else REMOVALS[removal]
    scores_of = growth if callable(growth) else GROWTHS[growth]

    def event(moment: Moment) -> list[jax.Array]:
        counts = _swap_counts(moment, rate, rounding)
        return regenerate_each(moment.masks, moment.weights, scores_of(moment), counts, removed)

    return event


def then(first: Event, second: Event) -> Event:
    """One event after the other, the second seeing the weights that the first one left.

    What the first drops starts from 0 where the second grows it again.
    """

    def event(moment: Moment) -> Staged:
        masks, before = _staged(first(moment))
        left = [jnp.where(m, w, 0) for m, w in zip(masks, moment.weights, strict=True)]
        after, last = _staged(second(moment._replace(masks=masks, weights=left)))
        parts = zip(before, masks, last, strict=True)
        return Staged(after, [a & b & c for a, b, c in parts])

    return event


def _staged(found: list[jax.Array] | Staged) -> Staged:
    """Of an event with one stage, what it leaves is known by the masks of the next."""
    return found if isinstance(found, Staged) else Staged(found, [jnp.ones_like(m) for m in found])


def _swap_counts(moment: Moment, rate: Rate, rounding: Callable) -> list[jax.Array]:
    active = [jnp.sum(mask, dtype=jnp.int32) for mask in moment.masks]
    share = rate(moment.count)
    return [jnp.minimum(rounding(_settled(share * n)).astype(jnp.int32), n) for n in active]


def _settled(product: jax.Array) -> jax.Array:
    """The whole number next to it where a product in single precision may mean one.

    0.3 of 100 is 30.000001 there, of which the ceiling would be 31.
    """
    whole = jnp.round(product)
    return jnp.where(jnp.abs(product - whole) <= TWO_ULPS * product, whole, product)
