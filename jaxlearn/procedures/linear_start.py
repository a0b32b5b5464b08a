"""Linear start: train a simpler model first, and the full one when validation stops improving.

Sukhbaatar et al., "End-To-End Memory Networks", NeurIPS 2015 (arXiv 1503.08895): memory networks
are trained without the softmax of their look-ups at first; when the validation loss stops falling,
the softmaxes are put in and training goes on. Both models have the same parameters.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import Batch, Key, Metrics, Model, Params, PyTree, State, Step, TrainState

STAGE = "stage"
"""The collection that says how far training is.

`"switched"`, int32: the step after which the full model is computed, -1 before that; `"best"`, the
lowest validation loss so far; `"stale"`, int32: checks in a row that did not lower it.
"""


def in_stages(first: Model, second: Model) -> Model:
    """`first` until the state says otherwise (`linear_start`), then `second`.

    Args:
        first: the simpler model.
        second: a model with the same parameters and no state.

    Raises:
        ValueError: when the models have different parameters, or state of their own.

    Example:
        >>> from jaxlearn.models.memory_network import memory_network
        >>> sizes = {"words": 9, "answers": 4, "memories": 5}
        >>> model = in_stages(memory_network(**sizes, linear=True), memory_network(**sizes))
        >>> x = {"story": jnp.ones((2, 5, 3), int), "question": jnp.ones((2, 3), int)}
        >>> params, state = jax.jit(model.init)(jax.random.key(0), x)
        >>> int(state["stage"]["switched"])
        -1
    """

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        params, state = first.init(key, x)
        other, others = jax.eval_shape(second.init, key, x)
        if jax.eval_shape(lambda: params) != other or state or others:
            raise ValueError(
                "linear start needs two models with the same parameters and without state; "
                f"found {jax.eval_shape(lambda: params)} and {other}, {state} and {others}"
            )
        start = {"switched": jnp.int32(-1), "best": jnp.float32(jnp.inf), "stale": jnp.int32(0)}
        return params, {STAGE: start}

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        run = lambda model: lambda: model.apply(params, {}, x, train=train, key=key)[0]
        return lax.cond(state[STAGE]["switched"] < 0, run(first), run(second)), state

    return Model(init, apply)


def linear_start(
    step: Step, loss: Callable[[Params, State], jax.Array], *, every: int, patience: int = 1
) -> Step:
    """The step of a model `in_stages` with a look at the validation loss every so often.

    After every `every` steps the loss is computed. When it has not fallen below its lowest value
    for `patience` looks in a row, the second model takes over from the next step on, once and for
    all. Parameters and the state of the transform (momentum, the count that noise is annealed by)
    go on as they are.

    Args:
        step: `(state, batch) -> (state, metrics)`, with the collection of `in_stages` in its state.
        loss: `(params, state) -> scalar` on validation examples, the same on every device.
        every: steps between two looks.
        patience: looks in a row without a new lowest loss that end the first stage.

    Raises:
        ValueError: when a number is below 1.
    """
    if min(every, patience) < 1:
        raise ValueError(f"every and patience must be at least 1, found {every} and {patience}")

    def looked(state: TrainState) -> dict[str, jax.Array]:
        stage = state.state[STAGE]
        found = loss(state.params, state.state)
        better = found < stage["best"]
        stale = jnp.where(better, 0, stage["stale"] + 1)
        now = (stage["switched"] < 0) & (stale >= patience)
        return {
            "switched": jnp.where(now, state.step, stage["switched"]),
            "best": jnp.minimum(found, stage["best"]),
            "stale": stale,
        }

    def staged(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = step(state, batch)
        due = state.step % every == 0
        stage = lax.cond(due, lambda: looked(state), lambda: state.state[STAGE])
        return state._replace(state=state.state | {STAGE: stage}), metrics

    return staged
