"""Training steps as shapes: what a compiler needs of them, without weights or data."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.harness import Program
from jaxlearn.core import Rule, make_state, make_step


def labelled(size: int, shape: tuple[int, ...], dtype: Any = jnp.float32) -> dict[str, Any]:
    """A batch of so many examples of this shape, with labels and index."""
    each = jax.ShapeDtypeStruct((size,), jnp.int32)
    return {"inputs": jax.ShapeDtypeStruct((size, *shape), dtype), "labels": each, "index": each}


def abstract(rule: Rule, tx: optax.GradientTransformation, batch: Mapping[str, Any]) -> Program:
    """The training step with its first state, for a batch like the given one."""
    state = jax.eval_shape(
        lambda batch: make_state(rule, tx, jax.random.key(0), batch), dict(batch)
    )
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dict(batch))
    return Program(make_step(rule, tx), state, shapes)
