"""Several seeds of one training at the price of one compilation."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import (
    Batch,
    Key,
    PyTree,
    Rule,
    Step,
    TrainState,
    make_state,
    make_step,
)
from jaxlearn.core.contracts import CONTEXT
from jaxlearn.transforms.sparsity import mask_params, seed_axes


def over_seeds(
    rule: Rule,
    tx: Callable[[Key], optax.GradientTransformation],
    seeds: Sequence[int],
    batch: Batch,
    *,
    around: Callable[[Step], Step] = lambda step: step,
) -> tuple[TrainState, Step]:
    """The states of all seeds stacked, and the step that moves them together.

    The step takes batches stacked in the same order (`stacked`), on devices that share them or on
    one. Leaves of the state get a leading axis of seeds, except step and event counts, which the
    seeds share: with counts of their own, `lax.cond` would become a select and rare events would
    be computed at every step.

    Args:
        rule: the rule to train with.
        tx: the transform by the key that its random masks, if it has any, are drawn with.
        seeds: seed s starts from `jax.random.key(s)`; sparse parameters are masked from the start.
        batch: one seed's batch, for its shapes.
        around: from the step of one seed to the one that is taken, such as a `linear_start` of it;
            it may not change the structure of the state.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop
        >>> rule = backprop(tiny_stack(), cross_entropy)
        >>> states, step = over_seeds(rule, lambda key: optax.sgd(0.1), (0, 1), tiny_batch())
        >>> both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], 1), tiny_batch())
        >>> states, metrics = jax.jit(step)(states, both)
        >>> metrics["loss"].shape
        (2,)
    """

    def make(key: Key) -> TrainState:
        key, mask_key = jax.random.split(key)
        state = make_state(rule, tx(mask_key), key, batch)
        return state._replace(params=mask_params(state.params, state.opt_state))

    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    axes = seed_axes(jax.eval_shape(make, keys[0]))
    states = jax.jit(jax.vmap(make, out_axes=axes))(keys)
    step = around(make_step(rule, tx(jax.random.key(0))))  # once drawn, masks are in the state
    return states, jax.vmap(step, (axes, batch_axes(batch)), (axes, 0))


def seed_of(states: TrainState, position: int) -> TrainState:
    """The state of one seed, by its position, as `make_state` would have given it."""
    axes = seed_axes(states)
    pick = lambda axis, part: (
        part if axis is None else jax.tree.map(lambda leaf: leaf[position], part)
    )
    return jax.tree.map(pick, axes, states, is_leaf=lambda axis: axis is None)


def stacked(streams: Sequence[Callable[[int], Batch]]) -> Callable[[int], Batch]:
    """The batches of several streams as one, `[B, seeds, ...]`.

    Examples stay on axis 0, the axis that devices share a batch along; of a `"context"`, which has
    no examples, the seeds come first.
    """

    def at(step: int) -> Batch:
        each = [stream(step) for stream in streams]

        def joined(name: str) -> PyTree:
            parts = [batch[name] for batch in each]
            return jax.tree.map(lambda *leaves: np.stack(leaves, _seed_axis(name)), *parts)

        return {name: joined(name) for name in each[0]}

    return at


def batch_axes(batch: Batch) -> dict[str, int]:
    """The axis of the seeds in each entry of what `stacked` makes, for `jax.vmap`.

    Example:
        >>> batch_axes({"inputs": 0, "labels": 0, "context": 0})
        {'inputs': 1, 'labels': 1, 'context': 0}
    """
    return {name: _seed_axis(name) for name in batch}


def _seed_axis(name: str) -> int:
    return 0 if name == CONTEXT else 1
