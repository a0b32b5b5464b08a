"""Backpropagation through time, truncated: the graph is cut every k steps.

Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
trajectories", Neural Computation 1990.
"""

import jax

from jaxlearn.core import Batch, Key, Model, Objective, Params, PyTree, Rule, State, over_time
from jaxlearn.rules.backprop import bptt


def truncated_bptt(
    model: Model,
    objective: Objective,
    T: int,
    k: int,
    *,
    time_axis: int | None = None,
    checkpoint: bool = False,
) -> Rule:
    """The gradient of the mean loss over `T` steps, through no more than k of them.

    The sequence is cut into `T / k` windows; what the model carries into a window is a constant
    there. `k = 1` is SLTT, `k = T` is `bptt`, and memory grows with k alone. It is
    `over_time(bptt(model, objective, k), T / k)` on the inputs as windows, one gradient after the
    other, and the weights change once.

    Args:
        model: a model for one step.
        objective: the loss of one step.
        T: steps per sequence.
        k: steps per window, a divisor of `T`.
        time_axis: the axis of the inputs that is time; by default the same inputs at every step.
        checkpoint: store only the carried state of each step of a window and recompute the rest.

    Raises:
        ValueError: when k does not divide `T`, or the inputs have other than `T` frames.
    """
    if k < 1 or T % k:
        raise ValueError(f"k must divide T={T} into whole windows, found k={k}")
    window = bptt(model, objective, k, time_axis=time_axis, checkpoint=checkpoint)
    rule = over_time(window, T // k, time_axis=time_axis)

    def cut(leaf: jax.Array) -> jax.Array:
        assert time_axis is not None
        frames, shape = leaf.shape[time_axis], leaf.shape
        if frames != T:
            raise ValueError(f"the inputs have {frames} frames on axis {time_axis}, expected T={T}")
        return leaf.reshape(*shape[:time_axis], T // k, k, *shape[time_axis + 1 :])

    def windows(batch: Batch) -> Batch:
        if time_axis is None:
            return batch
        return batch | {"inputs": jax.tree.map(cut, batch["inputs"])}

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        return rule.init(key, windows(batch))

    def signal(params: Params, state: State, batch: Batch, key: Key):
        return rule.signal(params, state, windows(batch), key)

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        return rule.predict(params, state, windows(batch))

    return Rule(init, signal, predict)


def examples() -> dict[str, Rule]:
    """A spiking network in windows of two steps, at toy size."""
    from jaxlearn.core import stack
    from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
    from jaxlearn.models.tiny import CLASSES, WIDTH
    from jaxlearn.objectives import cross_entropy

    net = stack(spiking_mlp_blocks(CLASSES, widths=(WIDTH,)))
    return {"truncated-bptt": truncated_bptt(net, cross_entropy, 4, 2)}
