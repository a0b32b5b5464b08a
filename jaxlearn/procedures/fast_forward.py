"""Start an optimizer afresh in the middle of its learning-rate schedule."""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import PyTree


def fast_forward(opt_state: PyTree, step: jax.Array | int) -> PyTree:
    """The state with every schedule at `step`, all else as it is.

    Momentum, moments and the count that Adam corrects its bias by stay as they are: in a fresh
    state they are those of an optimizer that has seen no gradient. Schedules are found at any depth
    and in `inject_hyperparams`.

    Example:
        >>> tx = optax.sgd(optax.linear_schedule(1.0, 0.0, 10), momentum=0.9)
        >>> params = {"w": jnp.zeros(1)}
        >>> updates, _ = tx.update({"w": jnp.ones(1)}, fast_forward(tx.init(params), 4), params)
        >>> updates["w"]
        Array([-0.6], dtype=float32)
    """
    now = jnp.asarray(step, jnp.int32)

    def moved(part: PyTree) -> PyTree:
        if isinstance(part, optax.ScaleByScheduleState):
            return part._replace(count=now)
        if isinstance(part, optax.InjectStatefulHyperparamsState):
            counts = {name: _counted(own, now) for name, own in part.hyperparams_states.items()}
            inner = fast_forward(part.inner_state, step)
            return part._replace(count=now, hyperparams_states=counts, inner_state=inner)
        return part

    return jax.tree.map(moved, opt_state, is_leaf=_is_scheduled)


def _is_scheduled(part: PyTree) -> bool:
    return isinstance(
        part,
        optax.ScaleByScheduleState | optax.InjectStatefulHyperparamsState,
    )


def _counted(state: PyTree, now: jax.Array) -> PyTree:
    """A plain schedule keeps a count and nothing else; a stateful one of the user's is theirs."""
    return state._replace(count=now) if getattr(state, "_fields", ()) == ("count",) else state
