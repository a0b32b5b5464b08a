"""From scores to masks: so many weights, over all layers together or shared out between them."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxlearn.core import PyTree
from jaxlearn.transforms.sparsity import prunable as leaves
from jaxlearn.transforms.sparsity.distributions import Distribution, budget, counts, named
from jaxlearn.transforms.sparsity.prunable import Masks, Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.select import largest, largest_each


def keep(
    scores: PyTree,
    density: float,
    share: str | Distribution = "global",
    *,
    strict: bool = False,
    prunable: Prunable = matrices_and_filters,
) -> Masks:
    """Masks of the `floor(density * N)` prunable weights with the largest scores.

    Args:
        scores: like the parameters; larger is better.
        density: of all N prunable weights together.
        share: `"global"` compares the scores of all leaves; a distribution (`"uniform"`, `"er"`,
            `"erk"` or a function) says how many each leaf keeps.
        strict: keep only what is above the last score that would be kept, one weight less per
            comparison without ties, see `largest`.
        prunable: which leaves have masks.

    Raises:
        ValueError: for a density out of range or an unknown distribution.

    Example:
        >>> scores = {"a": jnp.array([[4.0, 3.0]]), "b": jnp.array([[2.0, 1.0]])}
        >>> keep(scores, 0.5)["b"], keep(scores, 0.5, "uniform")["b"]
        (Array([[False, False]], dtype=bool), Array([[ True, False]], dtype=bool))
    """
    if not 0 < density <= 1:
        raise ValueError(f"density must be above 0 and at most 1, found {density}")
    chosen = list(leaves.prunable_leaves(scores, prunable).values())
    everywhere = [jnp.ones(jnp.shape(score), bool) for score in chosen]
    sizes = [score.size for score in chosen]
    if share == "global":
        found = largest(chosen, budget(sum(sizes), density), everywhere, strict=strict)
    else:
        shapes = [jnp.shape(score) for score in chosen]
        ks = counts(sizes, named(share)(shapes, density))
        found = largest_each(chosen, ks, everywhere, strict=strict)
    return leaves.as_tree(scores, prunable, found)


def keep_per_output(score: jax.Array, density: float) -> jax.Array:
    """The mask of one layer `[inputs, ..., outputs]` with `floor(density * inputs)` per output.

    Example:
        >>> keep_per_output(jnp.array([[1.0, 4.0], [2.0, 3.0]]), 0.5)
        Array([[False,  True],
               [ True, False]], dtype=bool)
    """
    return largest_per_output(score, budget(math.prod(score.shape[:-1]), density))


def largest_per_output(score: jax.Array, count: int) -> jax.Array:
    """The mask of one layer `[inputs, ..., outputs]` with `count` entries per output."""
    rows = score.reshape(-1, score.shape[-1])
    return jax.vmap(partial(_first, count=count), -1, -1)(rows).reshape(score.shape)


def _first(score: jax.Array, count: int) -> jax.Array:
    return largest([score], count, [jnp.ones(score.shape, bool)])[0]
