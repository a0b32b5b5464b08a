"""Prune the weights of a network, each matrix by itself."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from jaxlearn.core import Key, Params, trees
from jaxlearn.procedures.pruning.inputs import Inputs


class Pruner(NamedTuple):
    """How one matrix is pruned.

    Attributes:
        prune: `(weight [inputs, outputs], inputs or None, key) -> weight` with zeros.
        looks: whether it needs the layer's inputs.
    """

    prune: Callable[[jax.Array, Inputs | None, Key], jax.Array]
    looks: bool


def prune(
    pruner: Pruner,
    params: Params,
    pruned: Callable[[str], bool],
    key: Key,
    inputs: Mapping[str, Inputs] | None = None,
) -> Params:
    """The parameters with zeros in every weight where `pruned(path)`; the sparsity is per layer.

    A filter `[h, w, in, out]` is pruned as a matrix of `h w in` inputs.

    Args:
        pruner: such as `magnitude(unstructured(0.5))`.
        params: of the network.
        pruned: which paths; leaves with fewer than two axes never are.
        key: for random scores.
        inputs: of the layers by path, for pruners that look.

    Raises:
        ValueError: when no leaf is pruned, or a layer's inputs are missing.
    """
    known, met = inputs or {}, []

    def one(keys, leaf: jax.Array) -> jax.Array:
        path = trees.path(keys)
        if leaf.ndim < 2 or not pruned(path):
            return leaf
        if pruner.looks and path not in known:
            raise ValueError(f"this pruner needs the inputs of {path}; known are {sorted(known)}")
        met.append(path)
        own = jax.random.fold_in(key, len(met))
        matrix = leaf.reshape(-1, leaf.shape[-1])
        return pruner.prune(matrix, known.get(path), own).reshape(leaf.shape)

    made = jax.tree.map_with_path(one, params)
    if not met:
        raise ValueError("nothing to prune: no leaf has two axes and pruned(path) true")
    return made


def sparsity(params: Params, pruned: Callable[[str], bool]) -> float:
    """The share of zeros among the weights where `pruned(path)`.

    Example:
        >>> import jax.numpy as jnp
        >>> sparsity({"w": jnp.array([[0.0, 1.0]]), "b": jnp.zeros(2)}, lambda path: path == "w")
        0.5
    """
    leaves = [leaf for keys, leaf in jax.tree.leaves_with_path(params) if pruned(trees.path(keys))]
    return sum(int((leaf == 0).sum()) for leaf in leaves) / sum(leaf.size for leaf in leaves)
