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
In a grid of n times n blocks the members, of an n-th of the width, are the first and the last of
the diagonal; the others come in the order of the paper's rows. Layers of one shape may share their
templates, as in the paper's networks for ImageNet: a bank for all layers that `shared` calls alike.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Parametrization, Params, PyTree, trees

Layout = Literal["diagonal", "outputs", "inputs"]


def blocks_of(layout: Layout, grid: int = 2) -> int:
    """How many blocks a layer of each layout has.

    Example:
        >>> blocks_of("diagonal"), blocks_of("inputs"), blocks_of("diagonal", 3)
        (4, 2, 9)
    """
    return grid**2 if layout == "diagonal" else grid


def alternating(block: int) -> int:
    """Which set of templates feeds which block, by default: 0, 1, 0, 1 and so on."""
    return block % 2


def itself(path: str) -> str:
    """Every layer has templates of its own."""
    return path


def mixed(templates: jax.Array, coefficients: jax.Array) -> jax.Array:
    """`sum_k c[k] T[k]`.

    Example:
        >>> mixed(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1.0, 10.0])).tolist()
        [31.0, 42.0]
    """
    return jnp.tensordot(coefficients, templates, 1)


def assembled(blocks: Sequence[jax.Array], layout: Layout) -> jax.Array:
    """The weight of a wide layer from its blocks `[..., inputs, outputs]`: both members, the rest.

    Example:
        >>> assembled([jnp.full((1, 1), i) for i in range(9)], "diagonal").tolist()
        [[0, 4, 7], [2, 5, 8], [3, 6, 1]]
    """
    if layout != "diagonal":
        ordered = [blocks[0], *blocks[2:], blocks[1]]
        return jnp.concatenate(ordered, -1 if layout == "outputs" else -2)
    first, last, *others = blocks
    cells, grid = [first, *others, last], math.isqrt(len(blocks))
    columns = [jnp.concatenate(cells[i * grid : (i + 1) * grid], -2) for i in range(grid)]
    return jnp.concatenate(columns, -1)


def by_name(path: str) -> Layout:
    """The layout by the names of `models.wide_resnet`: `stem`, `classifier`, all others."""
    if path.endswith("classifier/kernel"):
        return "inputs"
    return "outputs" if path.endswith("stem/kernel") else "diagonal"


def layout_of(member: tuple[int, ...], whole: tuple[int, ...]) -> Layout:
    """How a wide weight is made of blocks of the members' shape.

    Raises:
        ValueError: when inputs and outputs are neither kept nor as many times as many.

    Example:
        >>> layout_of((3, 3, 3, 8), (3, 3, 3, 16)), layout_of((8, 16), (16, 32))
        ('outputs', 'diagonal')
    """
    more_inputs, more_outputs = (
        wide / own for wide, own in zip(whole[-2:], member[-2:], strict=True)
    )
    whole_times = more_inputs % 1 == 0 == more_outputs % 1
    if whole[:-2] == member[:-2] and whole_times and max(more_inputs, more_outputs) > 1:
        if more_inputs == more_outputs:
            return "diagonal"
        if 1 in (more_inputs, more_outputs):
            return "outputs" if more_inputs == 1 else "inputs"
    raise ValueError(f"a weight {whole} is not made of blocks {member}")


def coefficient_rows(key: Key, rows: int, count: int) -> jax.Array:
    """`[rows, K]` from an orthogonal matrix: orthonormal columns, or rows where K is larger."""
    return jax.nn.initializers.orthogonal()(key, (rows, count))


def member(
    number: int,
    count: int | Callable[[str], int],
    *,
    grid: int = 2,
    templated: Callable[[str], bool] = lambda path: path.endswith("kernel"),
    layouts: Callable[[str], Layout] = by_name,
    shared: Callable[[str], str] = itself,
    rows: Callable[[Key, int, int], jax.Array] = coefficient_rows,
) -> Parametrization:
    """A member by itself: every weight `B_i = sum_k c_i[k] S_i[k]`, everything else as it is.

    `theta` is `{"templates": {name: [K, ...]}, "coefficients": {path: [K]}, "rest": {path: leaf}}`;
    the coefficients that every other of the new blocks will have after growth are kept in the
    frozen part. Given the same key, members 0 and 1 take their rows from the same matrices.

    Templates are drawn `N(0, 2 / (inputs outputs h w))`, which is what the released code's
    initialiser makes of a stack `[K, outputs, inputs, h, w]`: smaller than usual by
    `sqrt(outputs)`, which keeps the residual branches near zero at first.

    Args:
        number: 0 or 1.
        count: `K`, templates per set, or from the name of a set to its `K`.
        grid: n, blocks on a side of the wide layers.
        templated: which paths.
        layouts: of the wide layers that the weights become part of.
        shared: from a path to the name of its templates; layers of one name have one set.
        rows: from a key, a number of blocks and `K` to the first coefficients, such as
            `jax.random.normal` of that shape for banks.

    Raises:
        ValueError: for another number, `count < 1`, a grid below 2, when no leaf is templated, or
            when layers of different shapes share their templates.

    Example:
        >>> theta, frozen = member(0, 2).init(jax.random.key(0), {"kernel": jnp.ones((4, 6))})
        >>> theta["templates"]["kernel"].shape, frozen["spare"]["kernel"].shape
        ((2, 4, 6), (1, 2))
    """
    if number not in (0, 1) or grid < 2 or (isinstance(count, int) and count < 1):
        raise ValueError(
            f"number={number}, count={count}, grid={grid}; members are 0 and 1, count is at least "
            "1 and grid at least 2"
        )
    many = (lambda name: count) if isinstance(count, int) else count

    def init(key: Key, params: Params) -> tuple[PyTree, PyTree]:
        theta: PyTree = {"templates": {}, "coefficients": {}, "rest": {}}
        spare: PyTree = {}
        for i, (keys, leaf) in enumerate(jax.tree.leaves_with_path(params)):
            path, own = trees.path(keys), jax.random.fold_in(key, i)
            if leaf.ndim < 2 or not templated(path):
                theta["rest"][path] = leaf
                continue
            name = shared(path)
            size = many(name)
            first = rows(own, blocks_of(layouts(path), grid), size)
            theta["coefficients"][path], spare[path] = first[number], first[2 + number :: 2]
            if name not in theta["templates"]:
                draw = jax.random.normal(jax.random.fold_in(own, number), (size, *leaf.shape))
                theta["templates"][name] = math.sqrt(2 / leaf.size) * draw
            elif theta["templates"][name].shape[1:] != leaf.shape:
                raise ValueError(
                    f"{path} {leaf.shape} shares the templates {name!r} "
                    f"{theta['templates'][name].shape[1:]}: shapes have to be equal"
                )
        if not spare:
            raise ValueError("no parameter is templated: none has two axes and templated(path)")
        return theta, {"spare": spare, "shapes": _empty(params)}

    def materialize(theta: PyTree, frozen: PyTree) -> Params:
        def one(keys, _) -> jax.Array:
            path = trees.path(keys)
            if path in theta["rest"]:
                return theta["rest"][path]
            return mixed(theta["templates"][shared(path)], theta["coefficients"][path])

        return jax.tree.map_with_path(one, frozen["shapes"])

    return Parametrization(init, materialize)


def wide(
    sets: Callable[[int], int] = alternating,
    layouts: Callable[[str], Layout] = by_name,
    shared: Callable[[str], str] = itself,
) -> Parametrization:
    """The grown network: every weight assembled from mixtures of both members' templates.

    `theta` is `{"templates": {name: {"0": [K, ...], "1": [K, ...]}}, "coefficients": {path:
    [blocks, K]}, "rest": {path: leaf}}`, as `jaxlearn.procedures.growth` makes it; `init` takes a
    network as it is and makes it the one block of one template with coefficient 1.

    Args:
        sets: from the number of a block to its set; blocks 0 and 1 are the members.
        layouts: of the weights that have more than one block.
        shared: as in `member`.
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
            return weight(theta["templates"][shared(path)], theta["coefficients"][path], path)

        return jax.tree.map_with_path(one, frozen["shapes"])

    def weight(templates: Mapping[str, jax.Array], rows: jax.Array, path: str) -> jax.Array:
        blocks = [mixed(templates[str(sets(i))], row) for i, row in enumerate(rows)]
        return blocks[0] if len(blocks) == 1 else assembled(blocks, layouts(path))

    return Parametrization(init, materialize)


def _empty(params: Params) -> PyTree:
    """The tree of the parameters, with nothing in it."""
    return jax.tree.map(lambda leaf: jnp.zeros(0, leaf.dtype), params)


def examples() -> dict[str, Parametrization]:
    """One block of one template: an ordinary network with a factor per layer."""
    return {"templates": wide()}
