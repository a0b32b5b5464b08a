"""Low-rank adaptation: Hu et al., ICLR 2022, arXiv 2106.09685."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, PyTree, trees


def lora(
    rank: int, alpha: float | None = None, *, adapted: Callable[[str], bool] = lambda path: True
) -> Parametrization:
    """Freeze the weights and train a low-rank difference (eq. 3): `W = W0 + (alpha / r) A B`.

    A leaf of shape `[..., n, m]` with at least two axes gets `A: [n', r]`, drawn with variance
    `1/n'`, and `B: [r, m]`, zero, where `n'` is the product of all axes but the last; so training
    starts at `W0` exactly. Leaves with fewer axes, or where `adapted(path)` is false, stay frozen.

    Args:
        rank: `r`.
        alpha: the scale; `r` by default, which makes the factor 1.
        adapted: which paths get a difference.

    Raises:
        ValueError: when `rank < 1` or no leaf is adapted.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, found {rank}")
    factor = 1.0 if alpha is None else alpha / rank

    def init(key: Key, params: PyTree) -> tuple[PyTree, PyTree]:
        theta = {}
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            if leaf.ndim >= 2 and adapted(trees.path(keys)):
                theta[trees.path(keys)] = _factors(jax.random.fold_in(key, i), leaf, rank)
        if not theta:
            raise ValueError("lora adapts no parameter: none has two axes and adapted(path) true")
        return theta, params

    def materialize(theta: PyTree, frozen: PyTree) -> PyTree:
        def add(keys, leaf: jax.Array) -> jax.Array:
            pair = theta.get(trees.path(keys))
            if pair is None:
                return leaf
            return leaf + (factor * pair["a"] @ pair["b"]).reshape(leaf.shape).astype(leaf.dtype)

        return jax.tree.map_with_path(add, frozen)

    return Parametrization(init, materialize)


def _factors(key: Key, leaf: jax.Array, rank: int) -> dict[str, jax.Array]:
    rows = leaf.size // leaf.shape[-1]
    a = jax.random.normal(key, (rows, rank), leaf.dtype) / jnp.sqrt(rows).astype(leaf.dtype)
    return {"a": a, "b": jnp.zeros((rank, leaf.shape[-1]), leaf.dtype)}


def examples() -> dict[str, Parametrization]:
    """Rank 4 on every matrix."""
    return {"lora": lora(4)}
