"""A rule for one moment becomes a rule for a sequence."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import trees
from jaxlearn.core.contracts import (
    SEQUENCE,
    Batch,
    Key,
    Metrics,
    Model,
    Params,
    PyTree,
    Rule,
    State,
)
from jaxlearn.core.step import begin


def over_time(
    rule: Rule, T: int, *, update_steps: int | None = None, time_axis: int | None = None
) -> Rule:
    """Accumulate an instantaneous rule's signal through `T` steps of a sequence.

    `g = (1/T) * sum over t in S of signal(theta, v[t-1], x[t])`, where `v`, the collection
    `"sequence"`, is carried from step to step and never differentiated, because every signal is
    computed inside the loop body. So memory does not grow with `T`. With `update_steps=K` the set
    `S` holds K steps drawn without replacement, once per call and for the whole batch; the other
    steps run forward only, state included, and the sum is still divided by `T`.
    `over_time(backprop(model), T)` is SLTT (Meng et al., ICCV 2023), with `update_steps` SLTT-K.

    Every step receives the same key, so a dropout mask holds for the whole sequence. Metrics are
    means over the `T` steps. Predictions are the mean of the outputs over time.

    Args:
        rule: a rule for one step; its lasting state moves on at every step.
        T: steps per sequence.
        update_steps: K, the steps that teach; all of them by default.
        time_axis: the axis of the inputs that is time, counted with the batch axis (1 for
            `[batch, time, ...]`). By default the same inputs are shown at every step.

    Raises:
        ValueError: when `T` or `update_steps` is out of range, or the inputs have other than `T`
            frames on `time_axis`.
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, found {T}")
    if update_steps is not None and not 1 <= update_steps <= T:
        raise ValueError(f"update_steps must lie in 1..{T} (= T), found {update_steps}")

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = rule.init(key, frame(batch, 0, T, time_axis))
        return params, trees.lasting(state)

    def started(state: State, batch: Batch) -> State:
        first = frame(batch, 0, T, time_axis)
        return trees.lasting(state) | {SEQUENCE: begin(rule, first)}

    def signal(params: Params, state: State, batch: Batch, key: Key):
        chosen = _chosen(key, T, update_steps)

        def learn(carry, now):
            state, total = carry
            grads, state, metrics = rule.signal(params, state, now, key)
            return (_complete(state), trees.add(total, grads)), metrics

        def pass_by(carry, now):
            # the unused gradients are dead code: the compiler leaves only the forward pass
            _, state, metrics = rule.signal(params, carry[0], now, key)
            return (_complete(state), carry[1]), metrics

        def body(carry, t):
            now = frame(batch, t, T, time_axis)
            if update_steps is None:
                return learn(carry, now)
            return lax.cond(chosen[t], learn, pass_by, carry, now)

        start = (started(state, batch), trees.zeros_like(params))
        (state, total), metrics = lax.scan(body, start, jnp.arange(T))
        averaged: Metrics = jax.tree.map(lambda m: m.mean(0), metrics)
        return trees.scale(1 / T, total), trees.lasting(state), averaged

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        batch = unlabelled(batch)

        def body(state, t):
            outputs, state = rule.predict(params, state, frame(batch, t, T, time_axis))
            return _complete(state), outputs

        state, outputs = lax.scan(body, started(state, batch), jnp.arange(T))
        return jax.tree.map(lambda o: o.mean(0), outputs), trees.lasting(state)

    return Rule(init, signal, predict)


def unlabelled(batch: Batch) -> Batch:
    """The batch as a prediction may see it.

    A rule may run other rows to learn than to predict (pairs, every label). It tells the two apart
    by the labels when it is asked for the state that a sequence begins with.
    """
    return {name: part for name, part in batch.items() if name != "labels"}


def through_time(
    model: Model, T: int, *, time_axis: int | None = None, remat: bool = False
) -> Model:
    """Unroll a model for one step over a sequence: `y[t], v[t] = model(x[t], v[t-1])`, stacked.

    Differentiating it is backpropagation through time. A `"sequence"` collection in the state is
    continued and handed on, so windows of a longer sequence can follow each other.

    Args:
        model: a model for one step.
        T: steps per sequence.
        time_axis: the axis of the input that is time; by default the same input at every step.
        remat: recompute the steps in the backward pass instead of storing them.
    """

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        return model.init(key, _at(x, 0, T, time_axis))

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        if SEQUENCE not in state:
            first = model.init(jax.random.key(0), _at(x, 0, T, time_axis))[1]
            state = state | {SEQUENCE: first.get(SEQUENCE, {})}

        def body(state, t):
            now = _at(x, t, T, time_axis)
            y, state = model.apply(params, state, now, train=train, key=key)
            return _complete(state), y

        body = jax.checkpoint(body, prevent_cse=False) if remat else body
        state, ys = lax.scan(body, state, jnp.arange(T))
        return ys, state

    return Model(init, apply)


def frame(batch: Batch, t: jax.Array | int, T: int, time_axis: int | None) -> Batch:
    """The batch as it is at step `t` of a sequence."""
    return batch | {"inputs": _at(batch["inputs"], t, T, time_axis)}


def _at(x: PyTree, t: jax.Array | int, T: int, time_axis: int | None) -> PyTree:
    if time_axis is None:
        return x
    for leaf in jax.tree.leaves(x):
        if leaf.shape[time_axis] != T:
            raise ValueError(
                f"the inputs have {leaf.shape[time_axis]} frames on axis {time_axis}, "
                f"expected T={T}"
            )
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, t, time_axis, False), x)


def _complete(state: State) -> State:
    return {SEQUENCE: {}} | state


def _chosen(key: Key, T: int, update_steps: int | None) -> jax.Array:
    ones = jnp.arange(T) < (T if update_steps is None else update_steps)
    return jax.random.permutation(jax.random.fold_in(key, T), ones)
