"""A step for sequences whose weights change at every moment."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxlearn.core import trees
from jaxlearn.core.contracts import SEQUENCE, Batch, Metrics, Rule, TrainState
from jaxlearn.core.over_time import frame, over_time
from jaxlearn.core.step import Step, begin, check, taught


@lru_cache(maxsize=64)
def make_online_step(
    rule: Rule, tx: optax.GradientTransformation, T: int, *, time_axis: int | None = None
) -> Step:
    """Like `make_step(over_time(rule, T), tx)`, with an update after every step of the sequence.

    ::

        theta[t + 1] = theta[t] + tx(signal(theta[t], v[t - 1], x[t]) / T)

    where `v`, the collection `"sequence"`, is carried on and never differentiated. The transform
    acts `T` times per batch: a schedule inside counts moments, not batches. Devices average at
    every moment. For small updates the sum of the changes is that of one update with `over_time`.

    Over `backprop` with `traced` blocks it is OTTT with online updates (Xiao et al., NeurIPS 2022,
    arXiv 2210.04195, "OTTT_O").

    Args:
        rule: a rule for one step; make the state with `make_state(over_time(rule, T), ...)`.
        tx: an optax transformation.
        T: steps per sequence.
        time_axis: the axis of the inputs that is time; by default the same inputs at every step.

    Raises:
        ValueError: when `T` is out of range or, while tracing, the batch does not fit.

    Example:
        >>> from jaxlearn.core import make_state, stack
        >>> from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
        >>> from jaxlearn.models.tiny import tiny_batch
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop
        >>> rule, tx = backprop(stack(spiking_mlp_blocks(3)), cross_entropy), optax.sgd(0.1)
        >>> state = make_state(over_time(rule, 4), tx, jax.random.key(0), tiny_batch())
        >>> state, metrics = make_online_step(rule, tx, 4)(state, tiny_batch())
    """
    whole = over_time(rule, T, time_axis=time_axis)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        check(whole, state, batch)
        # one key for all moments, so that a dropout mask holds for the sequence
        key = jax.random.fold_in(state.key, state.step)

        def moment(state: TrainState, t: jax.Array) -> tuple[TrainState, Metrics]:
            state, metrics = taught(rule, tx, state, frame(batch, t, T, time_axis), key, 1 / T)
            return state._replace(state={SEQUENCE: {}} | state.state), metrics

        started = {SEQUENCE: begin(rule, frame(batch, 0, T, time_axis))}
        start = state._replace(state=trees.lasting(state.state) | started)
        end, metrics = lax.scan(moment, start, jnp.arange(T))
        end = end._replace(step=state.step + 1, state=trees.lasting(end.state))
        return end, jax.tree.map(lambda m: m.mean(0), metrics)

    return step
