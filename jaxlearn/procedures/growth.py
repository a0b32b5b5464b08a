"""Two trained members become one network of twice their width: MixtureGrowth.

Pham, Teterwak, Nelson and Plummer, WACV 2024, arXiv 2311.04251. No data is looked at: the members
are the diagonal blocks of every wide weight, the other blocks are new mixtures of their templates
(`jaxlearn.parametrizations.templates`).
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import Key, Params, PyTree, State, trees
from jaxlearn.parametrizations.templates import (
    Layout,
    alternating,
    blocks_of,
    by_name,
    itself,
    layout_of,
)

Mode = Literal["orthogonal", "copy", "zero", "random", "none"]
MODES = ("orthogonal", "copy", "zero", "random", "none")


def least_used(rows: jax.Array) -> jax.Array:
    """The unit vector `c` with the smallest `|V c|`, for rows `V [n, K]`.

    It is the last right singular vector of V: the direction least used so far. At most `K - 1` rows
    leave one that is orthogonal to them; with more of them it is the least aligned. Its sign is
    arbitrary; here its largest entry is positive.

    Example:
        >>> least_used(jnp.array([[1.0, 0.0], [2.0, 0.0]])).tolist()
        [0.0, 1.0]
    """
    last = jnp.linalg.svd(rows, full_matrices=True)[2][-1]
    return last * jnp.where(last[jnp.argmax(jnp.abs(last))] < 0, -1.0, 1.0)


def grown_coefficients(
    mode: Mode,
    rows: jax.Array,
    spare: jax.Array,
    key: Key,
    noise: float = 1.0,
    sets: Callable[[int], int] = alternating,
) -> jax.Array:
    """The coefficients `[blocks, K]` of all blocks: those of the members, then the new ones.

    ============  =======================  ================================================
    mode          c_2                      c_3, and those after it
    ============  =======================  ================================================
    `orthogonal`  as it began              `noise` times `least_used` of all before
    `copy`        `c_set(2) + noise v`     `c_set(i) + noise v`: the member of its set
    `zero`        0                        0
    `random`      `noise` times uniform    `noise` times uniform in [0, 1)
    `none`        as it began              as it began
    ============  =======================  ================================================

    `v = u / |u|` with u uniform in [0, 1): one direction for all new blocks of a layer.

    Args:
        mode: as said.
        rows: `[2, K]`, trained.
        spare: `[blocks - 2, K]`, what the others began as.
        key: for `copy` and `random`.
        noise: as said.
        sets: which set feeds which block, for `copy`.

    Raises:
        ValueError: for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r} is none of {MODES}")
    new = spare
    if mode == "orthogonal":
        every = [*rows, *spare[:1]]
        for _ in range(1, len(spare)):
            every.append(noise * least_used(jnp.stack(every)))
        return jnp.stack(every)
    if mode == "copy":
        copied = jnp.stack([rows[sets(2 + i)] for i in range(len(spare))])
        u = jax.random.uniform(key, rows.shape[1:], rows.dtype)
        new = copied + noise * u / jnp.linalg.norm(u)
    elif mode == "zero":
        new = jnp.zeros_like(spare)
    elif mode == "random":
        new = noise * jax.random.uniform(key, spare.shape, spare.dtype)
    return jnp.concatenate([rows, new])


def grow(
    first: tuple[PyTree, PyTree],
    second: tuple[PyTree, PyTree],
    shapes: PyTree,
    key: Key,
    *,
    mode: Mode = "orthogonal",
    noise: float = 1.0,
    sets: Callable[[int], int] = alternating,
    shared: Callable[[str], str] = itself,
) -> tuple[PyTree, PyTree]:
    """`(theta, frozen)` of `templates.wide` from those of the two members.

    A leaf without templates, scale and shift of a norm, becomes the members' leaves one after the
    other, see `concatenated`.

    Args:
        first: `(theta, frozen)` of `templates.member(0, K)`.
        second: of `templates.member(1, K)`, of the same architecture.
        shapes: parameters of the wide network or their shapes, as `jax.eval_shape` gives them.
        key: for modes that draw.
        mode: see `grown_coefficients`.
        noise, sets: likewise.
        shared: as in `templates.member`.

    Raises:
        ValueError: when the members differ in their layers, or do not fit the wide network.
    """
    (one, frozen), (two, other) = first, second
    if jax.tree.map(jnp.shape, one) != jax.tree.map(jnp.shape, two):
        raise ValueError("the members have different layers; both need the same architecture")
    theta: PyTree = {"templates": {}, "coefficients": {}, "rest": {}}
    leaves = {trees.path(keys): leaf for keys, leaf in jax.tree.leaves_with_path(shapes)}
    if {*leaves} != {*one["coefficients"], *one["rest"]}:
        raise ValueError(
            f"the members have the parameters {sorted({*one['coefficients'], *one['rest']})}, the "
            f"wide network {sorted(leaves)}"
        )
    theta["templates"] = {
        name: {"0": own, "1": two["templates"][name]} for name, own in one["templates"].items()
    }
    for i, (path, leaf) in enumerate(leaves.items()):
        if path in one["rest"]:
            pair = (one["rest"][path], two["rest"][path])
            theta["rest"][path] = concatenated(*pair, leaf.shape, path)
            continue
        block = one["templates"][shared(path)].shape[1:]
        times = max(leaf.shape[-2] // block[-2], leaf.shape[-1] // block[-1])
        blocks = blocks_of(layout_of(block, leaf.shape), times)
        rows = jnp.stack([one["coefficients"][path], two["coefficients"][path]])
        spare = _in_turns(frozen["spare"][path], other["spare"][path])
        if blocks != 2 + len(spare):
            raise ValueError(f"{path} becomes {blocks} blocks, for which it was not made")
        if len(spare):
            own = jax.random.fold_in(key, i)
            rows = grown_coefficients(mode, rows, spare, own, noise, sets)
        theta["coefficients"][path] = rows
    empty = jax.tree.map(lambda leaf: jnp.zeros(0, leaf.dtype), shapes)
    return theta, {"shapes": empty}


def _in_turns(first: jax.Array, second: jax.Array) -> jax.Array:
    """Row by row, the first one's first."""
    every = jnp.zeros((len(first) + len(second), first.shape[-1]), first.dtype)
    return every.at[::2].set(first).at[1::2].set(second)


FILL = {"scale": 1.0, "var": 1.0}
"""What channels of no member have in a grown norm; 0 for shift and mean."""


def concatenated(
    first: jax.Array, second: jax.Array, shape: tuple[int, ...], path: str
) -> jax.Array:
    """The channels of member 0, then those of member 1; if there are more, neutral ones between.

    Raises:
        ValueError: when there are fewer channels than the members have, or other axes differ.

    Example:
        >>> concatenated(jnp.array([1.0]), jnp.array([2.0]), (3,), "norm/scale").tolist()
        [1.0, 1.0, 2.0]
    """
    missing = shape[-1] - first.shape[-1] - second.shape[-1]
    if missing < 0:
        raise ValueError(f"{path} has {shape[-1]} channels, fewer than those of both members")
    fill = FILL.get(path.split("/")[-1], 0.0)
    between = jnp.full((*first.shape[:-1], missing), fill, first.dtype)
    made = jnp.concatenate([first, between, second], -1)
    if made.shape != shape:
        raise ValueError(
            f"{path} has no templates, and {first.shape} beside {second.shape} is not {shape}: "
            "only channels, the last axis, can be laid side by side"
        )
    return made


def grown_state(first: State, second: State, shapes: State) -> State:
    """Running statistics of the wide network: the members' one after the other.

    Args:
        first: lasting collections of member 0, such as `batch_stats`.
        second: of member 1.
        shapes: those of the wide network, or their shapes.
    """

    def join(keys, wide: jax.Array, one: jax.Array, two: jax.Array) -> jax.Array:
        return concatenated(one, two, wide.shape, trees.path(keys))

    return jax.tree.map_with_path(join, shapes, first, second)


def grown_momentum(first: PyTree, second: PyTree, theta: PyTree) -> PyTree:
    """A tree like the grown `theta` with what an optimizer kept for the members' leaves.

    Templates and the coefficients of the diagonal blocks go on with what they had; new templates,
    new coefficients and the wide norms, which are new leaves, begin at zero.

    Args:
        first: a moment of the optimizer in the shape of member 0's `theta`, such as `trace`.
        second: of member 1's.
        theta: of the wide network, as `grow` returns it.
    """
    coefficients, templates = {}, {}
    for path, rows in theta["coefficients"].items():
        kept = jnp.stack([first["coefficients"][path], second["coefficients"][path]])
        coefficients[path] = jnp.zeros_like(rows).at[:2, : kept.shape[1]].set(kept)
    for path, sets in theta["templates"].items():
        kept = {"0": first["templates"][path], "1": second["templates"][path]}
        templates[path] = jax.tree.map(
            lambda new, old: jnp.zeros_like(new).at[: len(old)].set(old), sets, kept
        )
    rest = trees.zeros_like(theta["rest"])
    return {"templates": templates, "coefficients": coefficients, "rest": rest}


def with_random_blocks(
    whole: Params, key: Key, layouts: Callable[[str], Layout] = by_name, grid: int = 2
) -> Params:
    """Naive growth, the baseline: blocks of no member `N(0, 2 / (height width inputs))`.

    The deviation is Kaiming's over the inputs of the whole layer; the members, which are the first
    and the last block of the diagonal, layers that keep their inputs or outputs, and vectors stay
    as they are.

    Args:
        whole: weights of the wide network `[..., inputs, outputs]`.
        key: for the draws.
        layouts: of the weights.
        grid: n, of n times n blocks.

    Raises:
        ValueError: when a weight is not made of so many blocks.
    """

    def one(keys, leaf: jax.Array) -> jax.Array:
        path = trees.path(keys)
        if leaf.ndim < 2 or layouts(path) != "diagonal":
            return leaf
        if any(size % grid for size in leaf.shape[-2:]):
            raise ValueError(f"{path} {leaf.shape} is not made of {grid} times {grid} blocks")
        scale = math.sqrt(2 * leaf.shape[-1] / leaf.size)
        draw = scale * jax.random.normal(keys_of[path], leaf.shape, leaf.dtype)
        row, column = (jnp.arange(size) * grid // size for size in leaf.shape[-2:])
        ends = (row == 0) | (row == grid - 1)
        return jnp.where((row[:, None] == column) & ends[:, None], leaf, draw)

    paths = [trees.path(keys) for keys, _ in jax.tree.leaves_with_path(whole)]
    keys_of = {path: jax.random.fold_in(key, i) for i, path in enumerate(paths)}
    return jax.tree.map_with_path(one, whole)
