"""The types every method is written against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any
Params = PyTree
State = dict[str, PyTree]
"""Collections by name: `"sequence"` lives for one sequence (membranes), all others last.

Floating-point leaves of a lasting collection are averaged over the devices at every step, those of
`"frozen"`, `"memory"` and `"momentum"` are not: the first never change, a rule that writes to the
second (one row per example of the data set, say) gathers what it writes, see `axis.gather`, and the
third are moving averages of parameters, which every device computes alike. `"activity"` is what the
layers made of the whole context at the step before: it moves on once per step.
"""
Batch = dict[str, PyTree]
"""`"inputs"` and usually `"labels"`; every leaf but the context has the examples on axis 0.

Optional keys: `"index"`, int32, the position of each example in its data set (augmentation and
per-example memories are keyed by it); `"weight"`, one factor per example that averages to 1 over
the global batch (losses are `mean(weight * loss)`); `"context"`, what all examples share, such as
a graph: it is replicated over devices and never split.
"""
Metrics = dict[str, jax.Array]
Key = jax.Array
Objective = Callable[[PyTree, Batch], tuple[jax.Array, Metrics]]
"""`objective(outputs, batch) -> (scalar loss, metrics)`: a mean over the examples of the batch."""

SEQUENCE = "sequence"
FROZEN = "frozen"
MEMORY = "memory"
ACTIVITY = "activity"
MOMENTUM = "momentum"
ALIKE = (FROZEN, MEMORY, MOMENTUM, SEQUENCE)
"""Collections that are not averaged: equal on all devices already, or over before the step is."""
CONTEXT = "context"


class Model(NamedTuple):
    """What is computed: a pair of pure functions.

    Attributes:
        init: `(key, x) -> (params, state)`. `state` includes the collection `"sequence"`, as it is
            before the first step, if the model has one.
        apply: `(params, state, x, *, train=False, key=None) -> (y, state)`. When `state` has no
            collection `"sequence"`, a new sequence starts.
    """

    init: Callable[..., tuple[Params, State]]
    apply: Callable[..., tuple[PyTree, State]]


class Rule(NamedTuple):
    """Where each parameter's teaching signal comes from.

    Attributes:
        init: `(key, batch) -> (params, state)`.
        signal: `(params, state, batch, key) -> (grads, state, metrics)`. `grads` has the structure,
            shapes and dtypes of `params`; it is the signal to descend along, the gradient of some
            loss or not. `metrics` are scalars, `"loss"` among them. `key` is the same on every
            device: use it as it is for what the whole batch shares, and through
            `keys.for_examples` or `keys.each_example` for what belongs to examples.
        predict: `(params, state, batch) -> (outputs, state)`, in evaluation mode, without labels.
    """

    init: Callable[[Key, Batch], tuple[Params, State]]
    signal: Callable[[Params, State, Batch, Key], tuple[Params, State, Metrics]]
    predict: Callable[[Params, State, Batch], tuple[PyTree, State]]


class Parametrization(NamedTuple):
    """What is trainable.

    Attributes:
        init: `(key, params) -> (theta, frozen)`.
        materialize: `(theta, frozen) -> params`, differentiable in `theta`.
    """

    init: Callable[[Key, Params], tuple[PyTree, PyTree]]
    materialize: Callable[[PyTree, PyTree], Params]


class TrainState(NamedTuple):
    """Everything that training depends on, between two steps.

    Attributes:
        step: int32 scalar, the steps taken.
        params: what the transform updates.
        state: collections that last: batch statistics, moving averages, memories, frozen leaves.
        opt_state: the transform's state.
        key: typed PRNG key; the step folds its number in and never replaces it.
    """

    step: jax.Array
    params: Params
    state: State
    opt_state: PyTree
    key: Key
