"""Weights as linear combinations of templates: MixtureGrowth.

Pham, Teterwak, Nelson and Plummer, "MixtureGrowth: Growing Neural Networks by Recombining Learned
Parameters", WACV 2024, arXiv 2311.04251. Two members of half the width have a set of templates per
layer each; a wide layer consists of blocks that are mixtures of the templates of both. How members
become a wide network is in `jaxlearn.procedures.growth`.

With kernels `[..., inputs, outputs]`, `S_0` and `S_1` the two sets `[K, ...]` of a layer and a row
of coefficients per block, `B_i = sum_k c_i[k] S_set(i)[k]` and ::

    whole = [[B_0, B_3],      rows are the halves of the inputs,
             [B_2, B_1]]      columns those of the outputs

which is the transpose of the paper's `[[B_0, B_2], [B_3, B_1]]`. A layer that keeps its inputs (the
stem) has the blocks `[B_0, B_1]`, one that keeps its outputs (the classifier) `B_0` above `B_1`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, Params, PyTree, trees

Layout = Literal["diagonal", "outputs", "inputs"]
BLOCKS = {"diagonal": 4, "outputs": 2, "inputs": 2}
"""How many blocks a layer of each layout has."""
SETS = (0, 1, 0, 1)
"""Which set of templates feeds which block, by default."""


def mixed(templates: jax.Array, coefficients: jax.Array) -> jax.Array:
    """`sum_k c[k] T[k]`.

    Example:
        >>> mixed(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 10.0])).tolist()
        [31.0, 42.0]
    """
    return jnp.tensordot(coefficients, templates, 1)


def assembled(blocks: list[jax.Array], layout: Layout) -> jax.Array:
    """The weight of a wide layer from its blocks `[..., inputs, outputs]`."""
    if layout == "outputs":
        return jnp.concatenate(blocks, -1)
    if layout == "inputs":
        return jnp.concatenate(blocks, -2)
    left = jnp.concatenate([blocks[0], blocks[2]], -2)
    right = jnp.concatenate([blocks[3], blocks[1]], -2)
    return jnp.concatenate([left, right], -1)


def by_name(path: str) -> Layout:
    """The layout by the names of `models.wide_resnet`: `stem`, `classifier`, all others."""
    if path.endswith("classifier/kernel"):
        return "inputs"
    return "outputs" if path.endswith("stem/kernel") else "diagonal"


def layout_of(member: tuple[int, ...], whole: tuple[int, ...]) -> Layout:
    """How a wide weight is made of blocks of the members' shape.

    Raises:
        ValueError: when inputs and outputs are neither kept nor twice as many.

    Example:
        >>> layout_of((3, 3, 3, 8), (3, 3, 3, 16)), layout_of((8, 16), (16, 32))
        ('outputs', 'diagonal')
    """
    times = tuple(wide / own for wide, own in zip(whole[-2:], member[-2:], strict=True))
    known: dict[tuple[float, ...], Layout] = {
        (2, 2): "diagonal",
        (1, 2): "outputs",
        (2, 1): "inputs",
    }
    if times not in known or whole[:-2] != member[:-2]:
        raise ValueError(f"a weight {whole} is not made of blocks {member}")
    return known[times]


def coefficient_rows(key: Key, rows: int, count: int) -> jax.Array:
    """`[rows, K]` from an orthogonal matrix: orthonormal columns, or rows where K is larger."""
    return jax.nn.initializers.orthogonal()(key, (rows, count))


def member(
    number: int,
    count: int,
    *,
    templated: Callable[[str], bool] = lambda path: path.endswith("kernel"),
    layouts: Callable[[str], Layout] = by_name,
) -> Parametrization:
    """A member by itself: every weight `B_i = sum_k c_i[k] S_i[k]`, everything else as it is.

    `theta` is `{"templates": {path: [K, ...]}, "coefficients": {path: [K]}, "rest": {path: leaf}}`;
    the coefficients that the member's set will have after growth are kept in the frozen part. Given
    the same key, members 0 and 1 take their rows from the same orthogonal matrices.

    Templates are drawn `N(0, 2 / (inputs outputs h w))`, which is what the released code's
    initialiser makes of a stack `[K, outputs, inputs, h, w]`: smaller than usual by
    `sqrt(outputs)`, which keeps the residual branches near zero at first.

    Args:
        number: 0 or 1.
        count: `K`, templates per set.
        templated: which paths.
        layouts: of the wide layers that the weights become part of.

    Raises:
        ValueError: for another number, `count < 1`, or when no leaf is templated.

    Example:
        >>> theta, frozen = member(0, 2).init(jax.random.key(0), {"kernel": jnp.ones((4, 6))})
        >>> theta["templates"]["kernel"].shape, frozen["spare"]["kernel"].shape
        ((2, 4, 6), (2,))
    """
    if number not in (0, 1) or count < 1:
        raise ValueError(
            f"number={number}, count={count}; members are 0 and 1, count is at least 1"
        )

    def init(key: Key, params: Params) -> tuple[PyTree, PyTree]:
        theta: PyTree = {"templates": {}, "coefficients": {}, "rest": {}}
        spare: PyTree = {}
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            path, own = trees.path(keys), jax.random.fold_in(key, i)
            if leaf.ndim < 2 or not templated(path):
                theta["rest"][path] = leaf
                continue
            rows = coefficient_rows(own, BLOCKS[layouts(path)], count)
            theta["coefficients"][path] = rows[number]
            # a layer of two blocks has none to spare
            spare[path] = rows[number + 2] if len(rows) == 4 else jnp.zeros(0, rows.dtype)
            draw = jax.random.normal(jax.random.fold_in(own, number), (count, *leaf.shape))
            theta["templates"][path] = math.sqrt(2 / leaf.size) * draw
        if not spare:
            raise ValueError("no parameter is templated: none has two axes and templated(path)")
        return theta, {"spare": spare, "shapes": _empty(params)}

    def materialize(theta: PyTree, frozen: PyTree) -> Params:
        def one(keys, _) -> jax.Array:
            path = trees.path(keys)
            if path in theta["rest"]:
                return theta["rest"][path]
            return mixed(theta["templates"][path], theta["coefficients"][path])

        return jax.tree.map_with_path(one, frozen["shapes"])

    return Parametrization(init, materialize)


def wide(
    sets: tuple[int, int, int, int] = SETS, layouts: Callable[[str], Layout] = by_name
) -> Parametrization:
    """The grown network: every weight assembled from mixtures of both members' templates.

    `theta` is `{"templates": {path: {"0": [K, ...], "1": [K, ...]}}, "coefficients": {path:
    [blocks, K]}, "rest": {path: leaf}}`, as `jaxlearn.procedures.growth` makes it; `init` takes a
    network as it is and makes it the one block of one template with coefficient 1.

    Args:
        sets: which of the two sets feeds which block; the off-diagonal ones are the last two.
        layouts: of the weights that have more than one block.
    """

    def init(key: Key, params: Params) -> tuple[PyTree, PyTree]:
        del key
        theta: PyTree = {"templates": {}, "coefficients": {}, "rest": {}}
        for keys, leaf in jax.tree.leaves_with_path(params):
            path = trees.path(keys)
            if leaf.ndim < 2:
                theta["rest"][path] = leaf
                continue
            theta["templates"][path] = {"0": leaf[None]}
            theta["coefficients"][path] = jnp.ones((1, 1), leaf.dtype)
        return theta, {"shapes": _empty(params)}

    def materialize(theta: PyTree, frozen: PyTree) -> Params:
        def one(keys, _) -> jax.Array:
            path = trees.path(keys)
            if path in theta["rest"]:
                return theta["rest"][path]
            return weight(theta["templates"][path], theta["coefficients"][path], path)

        return jax.tree.map_with_path(one, frozen["shapes"])

    def weight(templates: Mapping[str, jax.Array], rows: jax.Array, path: str) -> jax.Array:
        blocks = [mixed(templates[str(sets[i])], row) for i, row in enumerate(rows)]
        return blocks[0] if len(blocks) == 1 else assembled(blocks, layouts(path))

    return Parametrization(init, materialize)


def _empty(params: Params) -> PyTree:
    """The tree of the parameters, with nothing in it."""
    return jax.tree.map(lambda leaf: jnp.zeros(0, leaf.dtype), params)


def examples() -> dict[str, Parametrization]:
    """One block of one template: an ordinary network with a factor per layer."""
    return {"templates": wide()}
