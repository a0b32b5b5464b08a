"""Noticing that a run has diverged."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core.contracts import PyTree
from jaxlearn.core.trees import path


class Diverged(ValueError):
    """The loss or a parameter is no longer finite.

    Attributes:
        step: the first step whose loss was not finite.
    """

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


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
    floating = {
        path(keys): leaf
        for keys, leaf in jax.tree.leaves_with_path(params)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    whole = jax.device_get(_all_finite(floating))
    return [name for name in floating if not whole[name]]


def diverged(step: int, params: PyTree, what: str = "loss") -> Diverged:
    """The error that names the step and the first parameters that are not finite."""
    names = bad_leaves(params)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    leaves = f"; not finite: {', '.join(names[:3])}{more}" if names else "; parameters are finite"
    return Diverged(
        f"{what} is not finite at step {step}{leaves}; the last good checkpoint is kept, "
        "lower the learning rate or pass on_nan='ignore'",
        step,
    )


@jax.jit
def _all_finite(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), tree)
