"""Several seeds of one training at the price of one compilation."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import Batch, Rule, Step, TrainState, make_state, make_step
from jaxlearn.transforms.sparsity import seed_axes


def over_seeds(
    rule: Rule, tx: optax.GradientTransformation, seeds: Sequence[int], batch: Batch
) -> tuple[TrainState, Step]:
    """The states of all seeds stacked, and the step that moves them together.

    The step takes batches stacked in the same order (`stacked`). Leaves get a leading axis of
    seeds, except step and event counts, which the seeds share: with counts of their own,
    `lax.cond` would become a select and rare events would be computed at every step.

    Args:
        rule: the rule to train with.
        tx: the transform to train with.
        seeds: seed s starts from `make_state(rule, tx, jax.random.key(s), batch)`.
        batch: one seed's batch, for its shapes.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop
        >>> rule, tx = backprop(tiny_stack(), cross_entropy), optax.sgd(0.1)
        >>> states, step = over_seeds(rule, tx, (0, 1), tiny_batch())
        >>> both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), tiny_batch())
        >>> states, metrics = jax.jit(step)(states, both)
        >>> metrics["loss"].shape
        (2,)
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    make = lambda key: make_state(rule, tx, key, batch)
    axes = seed_axes(jax.eval_shape(make, keys[0]))
    states = jax.jit(jax.vmap(make, out_axes=axes))(keys)
    return states, jax.vmap(make_step(rule, tx), (axes, 0), (axes, 0))


def seed_of(states: TrainState, position: int) -> TrainState:
    """The state of one seed, by its position, as `make_state` would have given it."""
    axes = seed_axes(states)
    pick = lambda axis, part: (
        part if axis is None else jax.tree.map(lambda leaf: leaf[position], part)
    )
    return jax.tree.map(pick, axes, states, is_leaf=lambda axis: axis is None)


def stacked(streams: Sequence[Callable[[int], Batch]]) -> Callable[[int], Batch]:
    """The batches of several streams as one batch with a leading axis of streams."""

    def at(step: int) -> Batch:
        each = [stream(step) for stream in streams]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

    return at
