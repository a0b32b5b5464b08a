"""The one wrapper that all sparse training goes through."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxlearn.core import Key, Params, PyTree, trees
from jaxlearn.transforms.sparsity import prunable as leaves
from jaxlearn.transforms.sparsity.initial import Initial
from jaxlearn.transforms.sparsity.prunable import Masks, Prunable, matrices_and_filters
from jaxlearn.transforms.sparsity.state import SparseState
from jaxlearn.transforms.sparsity.surgery import mask_slots


class Moment(NamedTuple):
    """What an event may look at; lists are over the prunable leaves, in the order of the tree.

    Attributes:
        count: updates seen, this one included.
        key: a key of this event's own, or `None`.
        paths: where the leaves are.
        masks: the current masks.
        weights: the weights that the masks are chosen by, zero where inactive.
        grads: the dense gradient of the last backward pass, inactive entries included.
        trend: the decayed sum of the dense gradients so far, where `sparse` keeps one.
    """

    count: jax.Array
    key: Key | None
    paths: Sequence[str]
    masks: Sequence[jax.Array]
    weights: Sequence[jax.Array]
    grads: Sequence[jax.Array]
    trend: Sequence[jax.Array] | None = None


class Staged(NamedTuple):
    """What an event of several stages returns.

    Attributes:
        masks: the new ones.
        through: what every stage left active. An entry that a stage before the last dropped starts
            from 0 where the last one grows it again.
    """

    masks: list[jax.Array]
    through: list[jax.Array]


Event = Callable[[Moment], list[jax.Array] | Staged]
"""`event(moment)`: the new masks."""


def sparse(
    optimizer: optax.GradientTransformation,
    *,
    initial: Initial,
    due: Callable[[jax.Array], jax.Array] | None = None,
    event: Event | None = None,
    key: Key | None = None,
    trend_decay: float | None = None,
    skip_update: bool = False,
    prunable: Prunable = matrices_and_filters,
) -> optax.GradientTransformationExtraArgs:
    """Train with masks on the weights: `w <- m' * (m * (w + u(m * g)))`.

    `u` is the optimizer's update. When `due(count)`, `event` chooses the masks `m'` from the
    updated weights and the dense gradient, in one branch of a `lax.cond`; otherwise `m' = m`.
    After every update the parameters and the optimizer's slots are exactly 0 off the masks, and
    entries that become active start from 0 in both; so do those that an event's first stage drops
    and its second grows again (`Staged`). The optimizer sees the gradient and weights of
    the sparse network only, so clipping by norm is by the norm of the active entries.

    It must be the outermost transform: whatever changes its updates breaks the zeros. Parameters
    are dense until the first update; `mask_params` masks them before. Under `vmap` over seeds see
    `seed_axes`.

    Args:
        optimizer: any optax transformation, schedules and weight decay included.
        initial: the masks to start with.
        due: whether the masks change with this update; never, when there is no `event`.
        event: the new masks.
        key: for random masks and random growth.
        trend_decay: keep `t <- decay * t + g` of the dense gradients for events to look at. The
            optimizer's own momentum cannot serve: it is zero off the masks.
        skip_update: when masks change, choose them by the weights before the update and leave the
            update out, as RigL does. The optimizer does not see such a step: its schedules fall
            behind by one step per event.
        prunable: which leaves have masks.

    Raises:
        ValueError: when no parameter is prunable, or `update` gets no parameters.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: Params) -> Any:
        found = leaves.prunable_leaves(params, prunable)
        mask_key, event_key = (None, None) if key is None else jax.random.split(key)
        drawn = initial([jnp.shape(leaf) for leaf in found.values()], mask_key)
        masks = leaves.as_tree(params, prunable, drawn)
        trend = None if trend_decay is None else [jnp.zeros_like(leaf) for leaf in found.values()]
        return SparseState(jnp.int32(0), masks, event_key, optimizer.init(params), trend)

    def update(grads: PyTree, state: Any, params: Params | None = None, **extra: Any):
        if params is None:
            raise ValueError("sparse training needs parameters: tx.update(grads, state, params)")
        count = jnp.asarray(optax.safe_increment(state.count))
        now = jnp.asarray(False) if event is None or due is None else due(count)
        weights = leaves.apply(state.masks, params)
        seen = leaves.apply(state.masks, grads)
        updates, inner = optimizer.update(seen, state.inner, weights, **extra)
        if skip_update:
            updates = jax.tree.map(lambda u: jnp.where(now, jnp.zeros_like(u), u), updates)
            inner = jax.tree.map(lambda new, old: jnp.where(now, old, new), inner, state.inner)
        masks, keep, trend = state.masks, state.masks, state.trend
        if trend is not None:
            dense = leaves.beside(grads, masks)
            trend = [trend_decay * t + g for t, g in zip(trend, dense, strict=True)]
        if event is not None:

            def change() -> tuple[Masks, Masks]:
                moved = leaves.apply(state.masks, optax.apply_updates(weights, updates))
                return _change(event, count, state._replace(trend=trend), moved, grads)

            masks, keep = lax.cond(now, change, lambda: (state.masks, state.masks))
        inner = mask_slots(inner, params, keep)
        return _cancel(updates, params, keep), SparseState(count, masks, state.key, inner, trend)

    transform: Any = optax.GradientTransformationExtraArgs
    return transform(init, update)


def _change(
    event: Event, count: jax.Array, state: SparseState, weights: Params, grads: PyTree
) -> tuple[Masks, Masks]:
    """The new masks, and which entries keep their weight and slots."""
    moment = Moment(
        count=count,
        key=None if state.key is None else jax.random.fold_in(state.key, count),
        paths=leaves.beside(_paths(weights), state.masks),
        masks=jax.tree.leaves(state.masks),
        weights=leaves.beside(weights, state.masks),
        grads=leaves.beside(grads, state.masks),
        trend=state.trend,
    )
    found = event(moment)
    new, through = found if isinstance(found, Staged) else (found, moment.masks)
    keep = [a & b & c for a, b, c in zip(moment.masks, through, new, strict=True)]
    structure = jax.tree.structure(state.masks)
    return jax.tree.unflatten(structure, new), jax.tree.unflatten(structure, keep)


def _paths(tree: PyTree) -> PyTree:
    return jax.tree.map_with_path(lambda keys, _: trees.path(keys), tree)


def _cancel(updates: PyTree, params: Params, keep: Masks) -> PyTree:
    """Updates that bring what is not kept to zero exactly: `w + (-w) = 0`."""

    def one(param: jax.Array, update: jax.Array, mask: jax.Array | None) -> jax.Array:
        return update if mask is None else jnp.where(mask, update, -param)

    return jax.tree.map(one, params, updates, keep)
