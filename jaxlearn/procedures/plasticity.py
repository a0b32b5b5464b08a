"""Pruning plasticity: how well a network recovers from one prune, at one point of its training.

Liu et al., "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", NeurIPS 2021,
section 3. A dense network is stopped, pruned, with or without regrowth, and trained on at the
learning rate that it was stopped at; what it gains by that is its plasticity.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Params, PyTree
from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.prunable import Masks, Prunable, beside, matrices_and_filters
from jaxlearn.transforms.sparsity.select import largest_each


def pruned(
    params: Params,
    ratio: float,
    *,
    scope: str = "global",
    prunable: Prunable = matrices_and_filters,
) -> Masks:
    """Masks without the share `ratio` of the weights that is smallest in magnitude.

    Args:
        params: dense.
        ratio: p, of all prunable weights.
        scope: `"global"`, or `"uniform"` for the same share of every leaf.
        prunable: which leaves have masks.

    Raises:
        ValueError: when the ratio is not in [0, 1) or the scope is unknown.

    Example:
        >>> pruned({"w": jnp.array([[3.0, -1.0, 2.0, 4.0]])}, 0.5)["w"]
        Array([[ True, False, False,  True]], dtype=bool)
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"the ratio to prune is at least 0 and below 1, found {ratio}")
    if scope not in ("global", "uniform"):
        raise ValueError(f"unknown scope {scope!r}, expected 'global' or 'uniform'")
    size = jax.tree.map(jnp.abs, params)
    return keep(size, 1 - ratio, scope, prunable=prunable)


def regrown(before: Masks, masks: Masks, gradient: PyTree) -> Masks:
    """The masks with as many weights grown in every leaf as the prune took from it.

    The inactive entries with the largest `|gradient|` become active, `nnz(before) - nnz(masks)` of
    them in each leaf, so that the counts are those of before the prune. Weights grow from 0: those
    that the prune dropped do not come back with their values. From a dense network all of them
    grow, and what the prune did is to set them to 0.

    Args:
        before: the masks that were pruned.
        masks: what the prune left, a part of `before`.
        gradient: dense, at the weights that were left.

    Example:
        >>> before = {"w": jnp.array([True, True, False, True])}
        >>> masks = {"w": jnp.array([True, False, False, True])}
        >>> regrown(before, masks, {"w": jnp.array([0.0, 1.0, -9.0, 3.0])})["w"]
        Array([ True, False,  True,  True], dtype=bool)
    """
    had, left = jax.tree.leaves(before), jax.tree.leaves(masks)
    counts = [jnp.sum(b, dtype=jnp.int32) - jnp.sum(m) for b, m in zip(had, left, strict=True)]
    scores = [jnp.abs(leaf) for leaf in beside(gradient, masks)]
    grown = largest_each(scores, counts, [~mask for mask in left])
    both = [mask | new for mask, new in zip(left, grown, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(masks), both)
