"""Pruning plasticity: how well a network recovers from one prune, at one point of its training.

Liu et al., "Sparse Training via Boosting Pruning Plasticity with Neuroregeneration", NeurIPS 2021,
section 3. A dense network is stopped, pruned, with or without regrowth, and trained on at the
learning rate that it was stopped at; what it gains by that is its plasticity.
"""

import jax
import jax.numpy as jnp

from jaxlearn.core import Params, PyTree
from jaxlearn.transforms.sparsity.keep import keep
from jaxlearn.transforms.sparsity.prunable import (
    Masks,
    Prunable,
    apply,
    beside,
    matrices_and_filters,
)
from jaxlearn.transforms.sparsity.regenerate import regenerate_each


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


def regrown(params: Params, masks: Masks, gradient: PyTree, share: float = 0.5) -> Masks:
    """The masks with `ceil(share nnz_l)` weights of every leaf swapped for others.

    The smallest go and the inactive entries with the largest `|gradient|` come, as GraNet
    regenerates after a prune (`regenerate`); the number of weights stays. Everything that the masks
    drop is set to 0, also where an entry was dropped by the prune and comes back here.

    Args:
        params: before the prune.
        masks: from `pruned`.
        gradient: dense, at `apply(masks, params)`.
        share: of the active weights to swap.

    Raises:
        ValueError: when the share is not between 0 and 1.

    Example:
        >>> params = {"w": jnp.array([[3.0, -1.0, 2.0, 4.0]])}
        >>> gradient = {"w": jnp.array([[0.0, 9.0, 1.0, 0.0]])}
        >>> regrown(params, pruned(params, 0.5), gradient)["w"]
        Array([[False,  True, False,  True]], dtype=bool)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share is between 0 and 1, found {share}")
    active = jax.tree.leaves(masks)
    weights = beside(apply(masks, params), masks)
    growth = [jnp.abs(leaf) for leaf in beside(gradient, masks)]
    counts = [jnp.ceil(share * jnp.sum(mask)).astype(jnp.int32) for mask in active]
    found = regenerate_each(active, weights, growth, counts)
    return jax.tree.unflatten(jax.tree.structure(masks), found)


def kept_by_both(params: Params, before: Masks, after: Masks) -> Params:
    """The weights that neither the prune nor the swap after it dropped; all others are 0.

    Example:
        >>> masks = {"w": jnp.array([True, True, False])}, {"w": jnp.array([True, False, True])}
        >>> kept_by_both({"w": jnp.ones(3)}, *masks)["w"]
        Array([1., 0., 0.], dtype=float32)
    """
    return apply(after, apply(before, params))
