"""From a rule and a transform to the one function that the training loop runs."""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import axis, trees
from jaxlearn.core.contracts import (
    FROZEN,
    SEQUENCE,
    Batch,
    Key,
    Metrics,
    PyTree,
    Rule,
    TrainState,
)

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_state(rule: Rule, tx: optax.GradientTransformation, key: Key, batch: Batch) -> TrainState:
    """The state before the first step.

    Args:
        rule: the rule to train with.
        tx: an optax transformation.
        key: a typed PRNG key, split between the initial values and the steps.
        batch: a batch like those to come; only its shapes and dtypes matter.
    """
    trees.batch_size(batch)
    init_key, step_key = jax.random.split(key)
    params, state = rule.init(init_key, batch)
    return TrainState(jnp.int32(0), params, trees.lasting(state), tx.init(params), step_key)


@lru_cache(maxsize=64)
def make_step(rule: Rule, tx: optax.GradientTransformation) -> Step:
    """Turn a rule and a transform into `step(state, batch) -> (state, metrics)`.

    The step asks the rule for its signal on this device's examples, averages signal, lasting state
    and metrics over the data axis once, and only then lets the transform act, so that noise, masks
    and regrowth come out the same on every device. State of a sequence ends with the step.

    The same rule and transform give the same function, so that what compiled it finds it again.

    Raises:
        ValueError: while tracing, when the batch does not fit the parameters.
    """
    tx = optax.with_extra_args_support(tx)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        _check(rule, state, batch)
        key = jax.random.fold_in(state.key, state.step)
        grads, collections, metrics = rule.signal(state.params, state.state, batch, key)
        kept = {FROZEN: collections.pop(FROZEN)} if FROZEN in collections else {}
        moving = {name: c for name, c in collections.items() if name != SEQUENCE}
        grads, moving, metrics = axis.mean((grads, moving, metrics))
        updates, opt_state = tx.update(grads, state.opt_state, state.params, value=metrics["loss"])
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, moving | kept, opt_state, state.key), metrics

    return step


def begin(rule: Rule, batch: Batch) -> PyTree:
    """The rule's `"sequence"` collection before the first step of a sequence, `{}` if it has none.

    It is what `rule.init` returns; under `jit` the rest of the initialisation is dead code.
    """
    return rule.init(jax.random.key(0), batch)[1].get(SEQUENCE, {})


def _check(rule: Rule, state: TrainState, batch: Batch) -> None:
    trees.batch_size(batch)
    needed = jax.eval_shape(rule.init, state.key, batch)[0]
    if jax.tree.structure(needed) != jax.tree.structure(state.params):
        raise ValueError(
            "state.params does not belong to this rule: expected the tree "
            f"{jax.tree.structure(needed)}, found {jax.tree.structure(state.params)}"
        )
    pairs = zip(jax.tree.leaves_with_path(needed), jax.tree.leaves(state.params), strict=True)
    for (keys, want), have in pairs:
        if want.shape != have.shape:
            inputs = jax.tree.map(jnp.shape, batch["inputs"])
            raise ValueError(
                f"the batch does not fit the parameters: inputs of shape {inputs} need "
                f"{trees.path(keys)} of shape {want.shape}, found {have.shape}"
            )
