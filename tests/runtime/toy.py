"""A run small enough to be started many times: noisy linear regression with momentum.

Written by hand, so that the runtime is judged by a step that needs nothing else of the library.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxlearn.core import axis

ROWS, WIDTH = 16, 5


class State(NamedTuple):
    step: jax.Array
    params: Any
    state: Any
    opt_state: Any
    key: jax.Array


def state(seed: int = 0) -> State:
    params = {"b": jnp.zeros(()), "w": jnp.full((WIDTH,), 0.5)}
    speed = jax.tree.map(jnp.zeros_like, params)
    return State(jnp.int32(0), params, {}, speed, jax.random.key(seed))


def loss(params: Any, batch: Any, noise: jax.Array) -> jax.Array:
    guess = (batch["inputs"] + noise) @ params["w"] + params["b"]
    return jnp.mean((guess - batch["labels"]) ** 2)


def step(old: State, batch: Any) -> tuple[State, dict[str, jax.Array]]:
    noise = 0.01 * jax.random.normal(jax.random.fold_in(old.key, old.step), (WIDTH,))
    found = jax.value_and_grad(loss)(old.params, batch, noise)
    value, grads = lax.pmean(found, axis.DATA) if axis.bound() else found
    speed = jax.tree.map(lambda v, g: 0.9 * v + g, old.opt_state, grads)
    params = jax.tree.map(lambda p, v: p - 0.02 * v, old.params, speed)
    metrics = {"loss": value, "norm": jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))}
    return State(old.step + 1, params, old.state, speed, old.key), metrics


def batches(at: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([7, at])
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    return {"inputs": x, "labels": (x @ np.arange(WIDTH) + 1).astype(np.float32)}


def by_hand(steps: int, rows: int = ROWS) -> State:
    """The same run as plain dispatches, one after the other."""
    now, once = state(), jax.jit(step)
    for at in range(steps):
        now, _ = once(now, batches(at, rows))
    return now


def evaluate(now: Any) -> dict[str, float]:
    distance = np.asarray(now.params["w"], np.float64) - np.arange(WIDTH)
    return {"validation/error": float(np.abs(distance).mean())}


def bits(tree: Any) -> list[bytes]:
    """Every leaf as bytes, keys included: equal only when all bits are."""

    def one(leaf: Any) -> bytes:
        key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if key else leaf).tobytes()

    return [one(leaf) for leaf in jax.tree.leaves(tree)]
