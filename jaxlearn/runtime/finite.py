"""Numbers that are not finite: who had them first, and steps that are not taken for them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core.contracts import Batch, Metrics, PyTree
from jaxlearn.core.step import Step
from jaxlearn.core.trees import path

STOP, SKIP, IGNORE = "stop", "skip", "ignore"
WAYS = (STOP, SKIP, IGNORE)
"""What a run may do about a loss that is not finite."""


class Diverged(ValueError):
    """The loss or a parameter is no longer finite.

    Attributes:
        step: the first step whose loss was not finite.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


def watched(step: Step, way: str) -> Callable[[Any, Batch, jax.Array], tuple[Any, Metrics, Any]]:
    """The step, and what is done about a loss that is not finite: `(state, batch, fine) -> ...`.

    `"stop"` holds the parameters from the first such step on, where `fine` turns false::

        fine = fine and isfinite(loss)
        params = new if fine else old

    NaN in one gradient leaf shows in the next loss and is everywhere after it: only the parameters
    before that step tell where it began. A choice that the update itself makes costs nothing, while
    looking at every leaf would. `"skip"` is `kept`.
    """

    def watching(old: Any, batch: Batch, fine: jax.Array) -> tuple[Any, Metrics, jax.Array]:
        new, metrics = step(old, batch)
        if way == SKIP:
            new = kept(old, new, metrics)
        if way == STOP and "loss" in metrics:
            fine = fine & jnp.isfinite(metrics["loss"]).all()
            new = new._replace(params=_chosen(fine, old.params, new.params))
        return new, metrics, fine

    return watching


def kept(old: Any, new: Any, metrics: Metrics) -> Any:
    """The state after a step that is only taken if all numbers stay finite.

    ::

        ok   = isfinite(loss) and every number of the state that was finite still is
        kept = new if ok else old                        with the `step` of new

    Parameters, collections (running statistics, memories) and the transform's state stay together;
    `step` goes on, so that the next batch and the next key are others. Of states stacked over seeds
    each seed is judged by itself.

    Example:
        >>> from jaxlearn.core.contracts import TrainState
        >>> old = TrainState(jnp.int32(0), {"w": jnp.float32(1)}, {}, (), jax.random.key(0))
        >>> new = old._replace(step=jnp.int32(1), params={"w": jnp.float32(2)})
        >>> kept(old, new, {"loss": jnp.nan}).params["w"].item()
        1.0
    """
    if old.step.ndim:
        return jax.vmap(kept)(old, new, metrics)
    pairs = zip(_floating(old), _floating(new), strict=True)
    held = [(jnp.isfinite(now) | ~jnp.isfinite(was)).all() for (_, was), (_, now) in pairs]
    fine = jnp.isfinite(metrics.get("loss", 0.0)).all()
    ok = jnp.stack([fine, *held]).all()
    return _chosen(ok, old, new)._replace(step=new.step)


def first_bad(rows: list[dict[str, Any]]) -> int | None:
    """The position of the first row whose loss is not finite, for any seed."""
    losses = np.array([row.get("loss", 0.0) for row in rows], np.float64)
    bad = ~np.isfinite(losses).reshape(len(rows), -1).all(axis=1)
    return int(bad.argmax()) if bad.any() else None


def bad_leaves(params: PyTree) -> list[str]:
    """Names of the floating-point leaves that hold NaN or infinity.

    Example:
        >>> bad_leaves({"a": jnp.array([1.0]), "b": jnp.array([jnp.nan])})
        ['b']
    """
    return _names(params, jax.device_get(_finite(params)))


def diverged(step: int, params: PyTree, what: str = "loss") -> Diverged:
    """The error that names the step and the first parameters that are not finite.

    Args:
        step: the first with something that is not finite.
        params: for a loss those before that step, as `watched` holds them.
        what: is not finite.
    """
    names = bad_leaves(params)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    when = " before it" if what == "loss" else ""
    found = f"not finite{when}: {', '.join(names[:3])}{more}" if names else "parameters were finite"
    return Diverged(
        f"{what} is not finite at step {step}; {found}; the last good checkpoint is kept, "
        "lower the learning rate or pass on_nan='skip' or 'ignore'",
        step,
    )


def _chosen(ok: jax.Array, old: PyTree, new: PyTree) -> PyTree:
    return jax.tree.map(lambda was, now: jnp.where(ok, now, was), old, new)


def _floating(tree: PyTree) -> list[tuple[str, jax.Array]]:
    leaves = jax.tree.leaves_with_path(tree)
    return [(path(k), leaf) for k, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]


@jax.jit
def _finite(params: PyTree) -> jax.Array:
    return jnp.array([jnp.isfinite(leaf).all() for _, leaf in _floating(params)], bool)


def _names(params: PyTree, finite: np.ndarray) -> list[str]:
    return [name for (name, _), whole in zip(_floating(params), finite, strict=True) if not whole]
