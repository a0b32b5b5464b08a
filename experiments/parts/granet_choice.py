"""Choosing a fifth of 25 million weights: the search of `sparsity.select` beside a full sort."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from experiments.harness import Peer, Program
from jaxlearn.transforms.sparsity.select import largest

CHOICE = "a fifth of 25 M weights"
"""The row of the bench."""


def choice(size: int = 25_000_000) -> Program:
    """The mask of the largest fifth, found by the search; it leaves the weights as they are."""
    weights = jax.random.normal(jax.random.key(0), (size,))
    search = lambda weights, k: largest([jnp.abs(weights)], k, [jnp.ones(weights.shape, bool)])[0]
    return Program(_step(search), {"weights": weights}, {"k": jnp.int32(size // 5)})


def by_sorting(ours: Program) -> Peer:
    """The same by `jnp.sort`, where weights as large as the smallest that stays stay as well."""

    def sort(weights: jax.Array, k: jax.Array) -> jax.Array:
        size = jnp.abs(weights)
        return size >= jnp.sort(size)[weights.size - k]

    return Peer("jax", partial(_start, jax.jit(_step(sort)), ours))


def _step(choose: Callable[[jax.Array, jax.Array], jax.Array]) -> Any:
    """A step whose metrics have the whole mask, so that no compiler leaves any of it out."""

    def step(state: dict[str, jax.Array], batch: dict[str, jax.Array]) -> tuple[Any, Any]:
        return state, {"mask": choose(state["weights"], batch["k"])}

    return step


def _start(sort: Any, ours: Program) -> Callable[[], object]:
    found, sorted_ = (run(ours.state, ours.batch)[1]["mask"] for run in (jax.jit(ours.step), sort))
    size = jnp.abs(ours.state["weights"])
    # the search takes as many of the ties as it should
    if jnp.any(found & ~sorted_) or jnp.any(sorted_ & ~found & (size > size[found].min())):
        raise ValueError("the sort chose other weights than the search")
    return lambda: jax.block_until_ready(sort(ours.state, ours.batch)[1])
