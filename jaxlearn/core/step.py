"""From a rule and a transform to the one function that the training loop runs."""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import axis, trees
from jaxlearn.core.contracts import (
    ALIKE,
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

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        check(rule, state, batch)
        key = jax.random.fold_in(state.key, state.step)
        state, metrics = taught(rule, tx, state, batch, key)
        return state._replace(step=state.step + 1, state=trees.lasting(state.state)), metrics

    return step


def taught(
    rule: Rule,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    key: Key,
    scale: float = 1.0,
) -> tuple[TrainState, Metrics]:
    """One signal, averaged over the devices, and one update; a sequence under way goes on.

    Args:
        rule: gives the signal for this batch.
        tx: turns it into an update.
        state: its `step` stays as it is.
        batch: of this device.
        key: for the rule.
        scale: factor of the signal.
    """
    grads, collections, metrics = rule.signal(state.params, state.state, batch, key)
    own = {name: c for name, c in collections.items() if name in ALIKE}
    moving = {name: c for name, c in collections.items() if name not in own}
    grads, moving, metrics = axis.mean((grads, moving, metrics))
    grads = grads if scale == 1.0 else trees.scale(scale, grads)
    tx = optax.with_extra_args_support(tx)
    updates, opt_state = tx.update(grads, state.opt_state, state.params, value=metrics["loss"])
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, state=moving | own, opt_state=opt_state), metrics


def begin(rule: Rule, batch: Batch) -> PyTree:
    """The rule's `"sequence"` collection before the first step of a sequence, `{}` if it has none.

    It is what `rule.init` returns; under `jit` the rest of the initialisation is dead code.
    """
    return rule.init(jax.random.key(0), batch)[1].get(SEQUENCE, {})


def check(rule: Rule, state: TrainState, batch: Batch) -> None:
    """Refuse a batch or parameters that do not fit the rule.

    Raises:
        ValueError: with what was needed and what was found.
    """
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
