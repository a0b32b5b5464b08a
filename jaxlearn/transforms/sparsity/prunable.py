"""Which parameters can be sparse, and how their masks travel beside them.

Masks are a tree like the parameters with a bool array on every prunable leaf and `None` on every
exempt one. jax counts `None` as an empty subtree, so the parameters come first in a `tree.map` over
both; the functions here turn the pair into plain lists of the prunable leaves.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn.core import Params, PyTree, trees

Masks = PyTree
Prunable = Callable[[str, jax.Array], bool]
"""`prunable(path, leaf)`: whether the leaf at `"0/kernel"` may be sparse."""


def matrices_and_filters(path: str, leaf: jax.Array) -> bool:
    """All linear and convolution weights, first and last layer included, and stacks of them.

    Every leaf of two or more axes, unless it is called `bias` or `scale`: those of stacked layers
    have two. The released code of GraNet (Liu et al., NeurIPS 2021) takes ranks 2 and 4, which are
    all that its networks have; here a scan over layers, a convolution in time or a bank of
    templates has three.

    Example:
        >>> matrices_and_filters("0/kernel", jnp.zeros((3, 3, 8, 16)))
        True
        >>> matrices_and_filters("0/bias", jnp.zeros(16))
        False
        >>> matrices_and_filters("hidden/kernel", jnp.zeros((6, 16, 16)))  # of six layers
        True
    """
    return jnp.ndim(leaf) >= 2 and path.rpartition("/")[2] not in ("bias", "scale")


def except_for(prunable: Prunable, *patterns: str) -> Prunable:
    """`prunable` without the leaves whose path matches one of the shell patterns.

    Exempt leaves stay dense and count in no budget. The lottery-ticket papers exempt the output
    layer of LeNet and VGG.

    Example:
        >>> hidden = except_for(matrices_and_filters, "Dense_2/*", "*/embedding")
        >>> hidden("Dense_1/kernel", jnp.zeros((3, 4))), hidden("Dense_2/kernel", jnp.zeros((3, 4)))
        (True, False)
    """
    exempt = lambda path: any(fnmatchcase(path, pattern) for pattern in patterns)
    return lambda path, leaf: prunable(path, leaf) and not exempt(path)


def prunable_leaves(params: Params, prunable: Prunable) -> dict[str, jax.Array]:
    """The prunable leaves by path, in the order of the tree.

    Raises:
        ValueError: when no leaf is prunable.
    """
    found = {
        trees.path(keys): leaf
        for keys, leaf in jax.tree.leaves_with_path(params)
        if prunable(trees.path(keys), leaf)
    }
    if not found:
        listed = [
            f"{trees.path(keys)} {jnp.shape(leaf)}"
            for keys, leaf in jax.tree.leaves_with_path(params)
        ]
        raise ValueError(f"no parameter is prunable among {listed}: choose another `prunable`")
    return found


def as_tree(params: Params, prunable: Prunable, masks: Sequence[jax.Array]) -> Masks:
    """A mask tree from one mask per prunable leaf, in the order of the tree."""
    rest = iter(masks)
    place = lambda keys, leaf: next(rest) if prunable(trees.path(keys), leaf) else None
    return jax.tree.map_with_path(place, params)


def beside(tree: PyTree, masks: Masks) -> list[Any]:
    """The leaves of `tree`, which is like the parameters, that have a mask.

    Example:
        >>> beside({"b": 1.0, "w": 2.0}, {"b": None, "w": jnp.array(True)})
        [2.0]
    """
    leaves, structure = jax.tree.flatten(tree)
    return [
        leaf
        for leaf, mask in zip(leaves, structure.flatten_up_to(masks), strict=True)
        if mask is not None
    ]


def apply(masks: Masks, tree: PyTree) -> PyTree:
    """`tree` with exact zeros where a mask is false; leaves without a mask pass unchanged.

    Example:
        >>> apply({"b": None, "w": jnp.array([True, False])}, {"b": 1.0, "w": jnp.ones(2)})["w"]
        Array([1., 0.], dtype=float32)
    """
    keep = lambda mask, part: part if mask is None else jnp.where(mask, part, 0)
    return jax.tree.map(keep, masks, tree, is_leaf=lambda part: part is None)


def check_zeros(masks: Masks, params: Params) -> None:
    """Refuse parameters that are not zero off their masks: someone forgot to apply them.

    Raises:
        ValueError: with the first such leaf and the number of its stray weights.

    Example:
        >>> check_zeros({"w": jnp.array([True, False])}, {"w": jnp.array([1.0, 0.0])})
    """
    names = beside(jax.tree.map_with_path(lambda keys, _: trees.path(keys), params), masks)
    for name, leaf, mask in zip(names, beside(params, masks), jax.tree.leaves(masks), strict=True):
        if stray := int(jnp.sum((leaf != 0) & ~mask)):
            raise ValueError(
                f"{name} has {stray} weights off its mask: train with `sparse`, or apply the masks"
            )


def density(masks: Masks) -> jax.Array:
    """The share of the prunable weights that are active.

    Example:
        >>> float(density({"b": None, "w": jnp.array([True, False, False, False])}))
        0.25
    """
    leaves = jax.tree.leaves(masks)
    active = jnp.stack([jnp.sum(mask) for mask in leaves])
    return active.sum() / sum(mask.size for mask in leaves)
