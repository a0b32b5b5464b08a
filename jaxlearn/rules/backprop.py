"""Backpropagation, through the layers and, for sequences, through time."""

import jax

from jaxlearn.core import (
    Batch,
    Key,
    Model,
    Objective,
    Params,
    PyTree,
    Rule,
    State,
    keys,
    through_time,
)
from jaxlearn.objectives import cross_entropy, per_step


def backprop(model: Model, objective: Objective) -> Rule:
    """The gradient of `objective(model(inputs), batch)`.

    State that the model carries from call to call is not differentiated: the gradient is with
    respect to the parameters alone.
    """

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return model.init(key, batch["inputs"])

    def signal(params: Params, state: State, batch: Batch, key: Key):
        key = keys.for_examples(key, batch)

        def loss_of(params: Params):
            outputs, new = model.apply(params, state, batch["inputs"], train=True, key=key)
            loss, metrics = objective(outputs, batch)
            return loss, (new, {"loss": loss} | metrics)

        grads, (new, metrics) = jax.grad(loss_of, has_aux=True)(params)
        return grads, new, metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        return model.apply(params, state, batch["inputs"])

    return Rule(init, signal, predict)


def bptt(
    model: Model,
    objective: Objective,
    T: int,
    *,
    time_axis: int | None = None,
    checkpoint: bool = False,
) -> Rule:
    """Backpropagation through time: the gradient of the mean loss over `T` steps.

    `L = (1/T) sum_t objective(model(x[t]), batch)`, differentiated through all routes in space and
    time (for spiking models, with the surrogate derivative of their neurons). Predictions are the
    mean of the outputs over time.

    Args:
        model: a model for one step.
        objective: the loss of one step.
        T: steps per sequence.
        time_axis: the axis of the inputs that is time; by default the same inputs at every step.
        checkpoint: store only the carried state of each step and recompute the rest.
    """
    unrolled = through_time(model, T, time_axis=time_axis, remat=checkpoint)
    rule = backprop(unrolled, per_step(objective))

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        outputs, state = rule.predict(params, state, batch)
        return jax.tree.map(lambda o: o.mean(0), outputs), state

    return rule._replace(predict=predict)


def examples() -> dict[str, Rule]:
    """The rules of this file at toy size."""
    from jaxlearn.models.tiny import tiny_stack

    return {
        "backprop": backprop(tiny_stack(), cross_entropy),
        "bptt": bptt(tiny_stack(), cross_entropy, 2),
        "bptt-checkpoint": bptt(tiny_stack(), cross_entropy, 2, checkpoint=True),
    }
