"""What a sparse transform keeps, and how to read the masks out of any optimizer state."""

from functools import reduce
from typing import Any, NamedTuple

import jax
import optax

from jaxlearn.core import Key, Params, PyTree, TrainState
from jaxlearn.transforms.sparsity import prunable
from jaxlearn.transforms.sparsity.prunable import Masks


class SparseState(NamedTuple):
    """The state of a sparse transform.

    Attributes:
        count: updates seen, int32.
        masks: bool arrays beside the prunable parameters, `None` beside the others.
        key: for random growth; `None` when nothing is drawn.
        inner: the state of the wrapped optimizer.
        trend: the decayed sum of the dense gradients, one array per prunable leaf; `None` unless
            growth looks at it.
    """

    count: jax.Array
    masks: Masks
    key: Key | None
    inner: PyTree
    trend: PyTree = None


def masks(opt_state: PyTree) -> Masks | None:
    """The masks in an optimizer state: a tree like the parameters, `None` on exempt leaves.

    When `optax.partition` gives parts of the parameters to several sparse transforms, their masks
    are put together. The state of an optimizer without masks gives `None`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxlearn.transforms.gmp import gmp
        >>> tx = gmp(optax.sgd(0.1), final_density=0.5, interval=1, stop=2)
        >>> masks(tx.init({"b": jnp.zeros(1), "w": jnp.ones((1, 2))}))
        {'b': None, 'w': Array([[ True,  True]], dtype=bool)}
    """
    found = [
        part.masks
        for part in jax.tree.leaves(opt_state, is_leaf=_is_sparse)
        if isinstance(part, SparseState)
    ]
    if not found:
        return None
    absent = lambda part: None if _elsewhere(part) else part
    return jax.tree.map(absent, reduce(_merged, found), is_leaf=_elsewhere)


def mask_params(params: Params, opt_state: PyTree) -> Params:
    """The parameters as the first forward pass of a sparse network should see them.

    `init` of a transform cannot change parameters, and masks act with the first update; so start
    from `state._replace(params=mask_params(state.params, state.opt_state))` where the initial masks
    are not dense. After the first update, and without a sparse transform, this changes nothing.
    """
    found = masks(opt_state)
    return params if found is None else prunable.apply(found, params)


def seed_axes(state: TrainState) -> TrainState:
    """Axes to `vmap` a step over seeds with, step and event counts shared.

    With a count of its own for every seed, `lax.cond` becomes a select and the selection of new
    masks runs at every step, which can cost many times the step itself. Shared counts keep the
    branch: `jax.vmap(step, (axes, 0), (axes, 0))`, with `axes` from the state of one seed.
    """
    each: Any = 0  # in place of leaves there are axes: 0 for one per seed, None for shared
    common: Any = None
    sparse = SparseState(common, each, each, each, each)
    shared = lambda part: sparse if isinstance(part, SparseState) else each
    opt_state = jax.tree.map(shared, state.opt_state, is_leaf=_is_sparse)
    return TrainState(common, each, each, opt_state, each)


def _is_sparse(part: PyTree) -> bool:
    return isinstance(part, SparseState)


def _elsewhere(part: PyTree) -> bool:
    return isinstance(part, optax.MaskedNode)


def _merged(a: Masks, b: Masks) -> Masks:
    """Both masks in one tree, each filling the gaps that `optax.partition` left in the other."""
    if a is None or _elsewhere(a):
        return b
    if _elsewhere(b) or isinstance(a, jax.Array):
        return a
    ours, structure = jax.tree.flatten(a, is_leaf=lambda part: part is not a)
    theirs = jax.tree.leaves(b, is_leaf=lambda part: part is not b)
    return structure.unflatten([_merged(x, y) for x, y in zip(ours, theirs, strict=True)])
