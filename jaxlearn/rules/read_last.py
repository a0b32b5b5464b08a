"""An instantaneous rule over a sequence whose answer is read at the end."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import (
    SEQUENCE,
    Batch,
    Key,
    Model,
    Params,
    PyTree,
    Rule,
    State,
    begin,
    through_time,
    trees,
)
from jaxlearn.core.over_time import frame, unlabelled


def read_last(
    rule: Rule,
    T: int,
    *,
    every_step: Callable[[str], bool] = lambda path: False,
    time_axis: int | None = None,
) -> Rule:
    """Teach some parameters at every step and the others at the last one, and predict from it.

    With `g_t = signal(theta, v[t-1], x[t])` of the rule, `v` the state of the sequence, carried and
    never differentiated, the signal is `(1/T) sum_t g_t` for parameters whose path `every_step`
    accepts and `g_T` for the others. It is computed step by step, so memory does not grow with T.
    `over_time` is the same with all parameters taught at every step and a mean of the outputs.
    Metrics are those of the last step. Initial values that depend on data see the middle frame.

    Args:
        rule: a rule for one step.
        T: steps per sequence.
        every_step: from the path of a parameter (`"0/cell/h/kernel"`) to whether it learns at every
            step; by default all learn at the last one.
        time_axis: the axis of the inputs that is time, counted with the batch axis; by default the
            same inputs are shown at every step.

    Raises:
        ValueError: when `T` is below 1 or the inputs have other than T frames on `time_axis`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop
        >>> rule = read_last(backprop(tiny_stack(), cross_entropy), 3)
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> jax.jit(rule.predict)(params, state, tiny_batch())[0].shape
        (32, 3)
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, found {T}")

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, state = rule.init(key, frame(batch, T // 2, T, time_axis))
        return params, trees.lasting(state)

    def started(state: State, batch: Batch) -> State:
        first = frame(batch, 0, T, time_axis)
        return trees.lasting(state) | {SEQUENCE: begin(rule, first)}

    def taught(tree: PyTree) -> PyTree:
        """The part of a tree of parameters that learns at every step, None elsewhere."""
        pick = lambda keys, leaf: leaf if every_step(trees.path(keys)) else None
        return jax.tree.map_with_path(pick, tree)

    def signal(params: Params, state: State, batch: Batch, key: Key):
        def body(carry, t):
            state, total = carry
            now = frame(batch, t, T, time_axis)
            grads, state, _ = rule.signal(params, state, now, key)
            return ({SEQUENCE: {}} | state, trees.add(total, taught(grads))), None

        start = (started(state, batch), taught(trees.zeros_like(params)))
        (state, total), _ = lax.scan(body, start, jnp.arange(T - 1))
        last = frame(batch, T - 1, T, time_axis)
        grads, state, metrics = rule.signal(params, state, last, key)
        mean = lambda before, g: g if before is None else ((before + g) / T).astype(g.dtype)
        grads = jax.tree.map(mean, total, grads, is_leaf=lambda leaf: leaf is None)
        return grads, trees.lasting(state), metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        batch = unlabelled(batch)

        def body(state, t):
            _, state = rule.predict(params, state, frame(batch, t, T, time_axis))
            return {SEQUENCE: {}} | state, None

        state, _ = lax.scan(body, started(state, batch), jnp.arange(T - 1))
        outputs, state = rule.predict(params, state, frame(batch, T - 1, T, time_axis))
        return outputs, trees.lasting(state)

    return Rule(init, signal, predict)


def answer_last(model: Model, T: int, *, time_axis: int | None = None) -> Model:
    """A model for one step over a sequence, with the output of the last step.

    Under `backprop` this is backpropagation through time for networks that are read at the end.

    Args:
        model: a model for one step.
        T: steps per sequence.
        time_axis: the axis of the input that is time; by default the same input at every step.
    """
    unrolled = through_time(model, T, time_axis=time_axis)

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        outputs, state = unrolled.apply(params, state, x, train=train, key=key)
        return jax.tree.map(lambda leaf: leaf[-1], outputs), state

    return Model(unrolled.init, apply)


def examples() -> dict[str, Rule]:
    """A recurrent layer taught at every step, and its readout at the last."""
    from jaxlearn.core import stack
    from jaxlearn.models.recurrent import recurrent
    from jaxlearn.models.tiny import WIDTH, tiny_head
    from jaxlearn.objectives import cross_entropy
    from jaxlearn.rules.backprop import backprop

    rule = backprop(stack([recurrent(WIDTH), tiny_head()]), cross_entropy)
    return {"read-last": read_last(rule, 3, every_step=lambda path: path.startswith("0/"))}
