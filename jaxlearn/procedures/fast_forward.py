"""Start an optimizer afresh in the middle of its learning-rate schedule."""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import PyTree


def fast_forward(opt_state: PyTree, step: jax.Array | int) -> PyTree:
    """The state with every schedule at `step`, all else as it is.

    Momentum, moments and the count that Adam corrects its bias by stay as they are: in a fresh
    state they are those of an optimizer that has seen no gradient. Schedules are found at any depth
    and in `inject_hyperparams`: of learning rates, of weight decay and of noise, which are the
    states with a count and nothing else but a key to draw with.

    Example:
        >>> tx = optax.sgd(optax.linear_schedule(1.0, 0.0, 10), momentum=0.9)
        >>> params = {"w": jnp.zeros(1)}
        >>> updates, _ = tx.update({"w": jnp.ones(1)}, fast_forward(tx.init(params), 4), params)
        >>> updates["w"]
        Array([-0.6], dtype=float32)
    """
    now = jnp.asarray(step, jnp.int32)

    def moved(part: PyTree) -> PyTree:
        if _counts_only(part):
            return part._replace(count=now)
        if isinstance(part, optax.InjectStatefulHyperparamsState):
            # a stateful schedule of the user's is theirs
            own = part.hyperparams_states.items()
            counts = {k: v._replace(count=now) if _counts_only(v) else v for k, v in own}
            inner = fast_forward(part.inner_state, step)
            return part._replace(count=now, hyperparams_states=counts, inner_state=inner)
        return part

    return jax.tree.map(moved, opt_state, is_leaf=_is_scheduled)


def _is_scheduled(part: PyTree) -> bool:
    return _counts_only(part) or isinstance(part, optax.InjectStatefulHyperparamsState)


def _counts_only(part: PyTree) -> bool:
    fields = getattr(part, "_fields", ())
    return "count" in fields and {*fields} <= {"count", "key", "rng_key"}
