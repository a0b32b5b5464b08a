"""Gradual magnitude pruning: which weights stay when the density falls."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxlearn.transforms.sparsity.distributions import budget
from jaxlearn.transforms.sparsity.schedules import Cubic
from jaxlearn.transforms.sparsity.select import largest, largest_each
from jaxlearn.transforms.sparsity.sparse import Event, Moment

CLASSIFIER_DENSITY = 0.2


def prune_globally(schedule: Cubic, *, min_per_leaf: int = 0) -> Event:
    """Keep the `floor(N * density)` largest `|w|` over all leaves jointly.

    Weights are compared across layers as they are, with no normalisation (Liu et al., NeurIPS 2021,
    section 4.1). With `schedule.code_parity` one weight less is kept, as the released code's strict
    comparison with the K-th value does.

    Args:
        schedule: the densities.
        min_per_leaf: the largest so many weights of each leaf stay in any case.
    """

    def event(moment: Moment) -> list[jax.Array]:
        total = sum(mask.size for mask in moment.masks)
        kept = [budget(total, d) for d in schedule.densities()]
        k = jnp.asarray(kept, jnp.int32)[schedule.event(moment.count)]
        scores = [jnp.abs(weight) for weight in moment.weights]
        if min_per_leaf:
            first = largest_each(scores, [min_per_leaf] * len(scores), moment.masks)
            scores = [jnp.where(f, jnp.inf, s) for f, s in zip(first, scores, strict=True)]
        return largest(scores, k, moment.masks, strict=schedule.code_parity)

    return event


def prune_uniformly(
    schedule: Cubic, *, classifier: Callable[[str], bool] = lambda path: False
) -> Event:
    """Keep the `floor(n_l * density)` largest `|w|` of every leaf.

    Once the density is 0.2 or less, leaves for which `classifier(path)` stay at 0.2 and the others
    take the rest of the budget, a rule of the released code of GraNet.
    """

    def event(moment: Moment) -> list[jax.Array]:
        sizes = [mask.size for mask in moment.masks]
        held = [classifier(path) for path in moment.paths]
        table = [_shares(sizes, held, density) for density in schedule.densities()]
        counts = jnp.asarray(table, jnp.int32)[schedule.event(moment.count)]
        scores = [jnp.abs(weight) for weight in moment.weights]
        return largest_each(scores, list(counts), moment.masks)

    return event


def _shares(sizes: Sequence[int], held: Sequence[bool], density: float) -> list[int]:
    own = sum(size for size, is_held in zip(sizes, held, strict=True) if is_held)
    if density > CLASSIFIER_DENSITY or not 0 < own < sum(sizes):
        return [budget(size, density) for size in sizes]
    rest = (density * sum(sizes) - CLASSIFIER_DENSITY * own) / (sum(sizes) - own)
    shares = [CLASSIFIER_DENSITY if is_held else max(rest, 0.0) for is_held in held]
    return [budget(size, share) for size, share in zip(sizes, shares, strict=True)]
