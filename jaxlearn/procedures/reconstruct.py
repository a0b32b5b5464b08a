"""Prune a network block by block, and train a little of each block to do what it did before.

Zimmer et al., PERP, arXiv 2312.15230, layer-wise reconstruction.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core import Key, Model, Parametrization, Params, PyTree
from jaxlearn.procedures.pruning import Pruner, linear_inputs, prune


class Local(NamedTuple):
    """How one block is trained.

    Attributes:
        parametrization: of the block's parameters.
        merge: `(theta, frozen) -> params` when it is done.
        tx: a transform; its state begins anew with every block.
        steps: of every block.
        batch: sequences per step.
    """

    parametrization: Parametrization
    merge: Callable[[PyTree, PyTree], Params]
    tx: optax.GradientTransformation
    steps: int
    batch: int


class Reconstructed(NamedTuple):
    """What comes out.

    Attributes:
        params: one tree per block.
        before: mean squared error of each block after pruning.
        after: and after its training.
    """

    params: list[Params]
    before: list[float]
    after: list[float]


def reconstruct(
    blocks: Sequence[Model],
    params: Sequence[Params],
    inputs: jax.Array,
    pruner: Pruner,
    pruned: Callable[[str], bool],
    key: Key,
    local: Local | None = None,
) -> Reconstructed:
    """Prune the blocks in order, each on what the finished blocks below it make of the inputs.

    For each block: the targets are its outputs before pruning, on the outputs of the pruned and
    reconstructed blocks below; it is pruned by statistics of these inputs; then `local` minimises
    `mean (pruned block(x) - target)^2`. Gradients and optimizer states exist for one block at a
    time. Without `local` this is pruning alone, by Wanda's and SparseGPT's order.

    Args:
        blocks: without state; equal models compile once.
        params: of each block, dense.
        inputs: of the first block, `[sequences, ...]`: embedded text.
        pruner: see `jaxlearn.procedures.pruning`.
        pruned: which paths within a block.
        key: split between the blocks by their number, so that no block hears of those above.
        local: how each block is trained.

    Raises:
        ValueError: when blocks and parameters differ in number, or a batch exceeds the sequences.
    """
    if len(blocks) != len(params):
        raise ValueError(f"{len(blocks)} blocks, but parameters of {len(params)}")
    if local is not None and not 1 <= local.batch <= len(inputs):
        raise ValueError(f"batches of {local.batch} out of {len(inputs)} sequences")
    found = Reconstructed([], [], [])
    for number, (block, dense) in enumerate(zip(blocks, params, strict=True)):
        prune_key, init_key, order_key = jax.random.split(jax.random.fold_in(key, number), 3)
        targets = _output(block, dense, inputs)
        seen = _inputs(block, dense, inputs) if pruner.looks else None
        made = prune(pruner, dense, pruned, prune_key, seen)
        found.before.append(float(_error(block, made, inputs, targets)))
        if local is not None:
            theta, frozen = local.parametrization.init(init_key, made)
            descend = _descent(block, local)
            made = local.merge(descend(theta, frozen, inputs, targets, order_key), frozen)
        found.after.append(float(_error(block, made, inputs, targets)))
        found.params.append(made)
        inputs = _output(block, made, inputs)
    return found


@partial(jax.jit, static_argnums=0)
def _output(block: Model, params: Params, x: jax.Array) -> jax.Array:
    return block.apply(params, {}, x)[0]


@partial(jax.jit, static_argnums=0)
def _inputs(block: Model, params: Params, x: jax.Array):
    return linear_inputs(block, params, {}, x)


@partial(jax.jit, static_argnums=0)
def _error(block: Model, params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    return _mean_square(block.apply(params, {}, x)[0], y)


def _mean_square(found: jax.Array, wanted: jax.Array) -> jax.Array:
    """In float32 at least: a difference of 300 squared is infinite in float16."""
    dtype = jnp.promote_types(found.dtype, jnp.float32)
    return jnp.mean((found.astype(dtype) - wanted.astype(dtype)) ** 2)


@lru_cache(maxsize=64)
def _descent(block: Model, local: Local) -> Callable[..., PyTree]:
    """`(theta, frozen, inputs, targets, key) -> theta` after all steps, compiled."""

    @jax.jit
    def descend(theta: PyTree, frozen: PyTree, x: jax.Array, y: jax.Array, key: Key) -> PyTree:
        def loss(theta: PyTree, rows: jax.Array) -> jax.Array:
            params = local.parametrization.materialize(theta, frozen)
            return _mean_square(block.apply(params, {}, x[rows])[0], y[rows])

        def step(carry, key: Key):
            theta, opt_state = carry
            rows = jax.random.choice(key, len(x), (local.batch,), replace=False)
            grads = jax.grad(loss)(theta, rows)
            updates, opt_state = local.tx.update(grads, opt_state, theta)
            return (optax.apply_updates(theta, updates), opt_state), None

        keys = jax.random.split(key, local.steps)
        (theta, _), _ = jax.lax.scan(step, (theta, local.tx.init(theta)), keys)
        return theta

    return descend
