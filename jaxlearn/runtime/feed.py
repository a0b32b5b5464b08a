"""From batches on the host to what the program takes: checked, stacked and placed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.core.axis import DATA
from jaxlearn.core.contracts import CONTEXT, Batch
from jaxlearn.core.trees import batch_size, path
from jaxlearn.runtime.parallel import check_divides, place


class Piece(NamedTuple):
    """Batches of `count` consecutive steps: `parts` of (batches, context, n), one per dispatch."""

    count: int
    parts: list[tuple[Batch, Batch, np.int32]]


Take = Callable[[int, int], Piece]
"""`take(position, limit)`: the piece of the steps from `position` on, none at or beyond `limit`."""


def feed(batches: Callable[[int], Batch], mesh: Mesh | None, length: int, stacked: bool) -> Take:
    """`take(position, limit) -> Piece` of at most `length` steps, none at or beyond `limit`.

    Args:
        batches: host batch of a step. All have the shapes and dtypes of the first one taken.
        mesh: where they go.
        length: steps of a chunk. Shorter ones are filled up with zeros that no step sees.
        stacked: one part `[length, B, ...]` for a loop on the device, otherwise a part per step.

    A `"context"` is placed once, for as long as `batches` returns the very same arrays; a chunk
    ends where it changes.

    Raises:
        ValueError: while taking, when a batch does not divide over the devices, or its tree, a
            dtype or a shape differs from the first one's.
    """
    first: list[tuple[int, dict]] = []
    placed: list[tuple[list, Batch]] = []

    def read(step: int) -> tuple[Batch, Batch]:
        batch = dict(batches(step))
        kinds = _kinds(batch, step)
        if not first:
            check_divides(batch_size(batch), mesh)
            first.append((step, kinds))
        _compare(first[0][1], kinds, f"batches({step})", f"batches({first[0][0]})")
        context = {CONTEXT: batch.pop(CONTEXT)} if CONTEXT in batch else {}
        return jax.tree.map(np.asarray, batch), context

    def take(position: int, limit: int) -> Piece:
        row, context = read(position)
        if not (placed and _same(placed[0][0], context)):
            placed[:] = [(jax.tree.leaves(context), place_context(context, mesh))]
        rows = [row]
        for step in range(position + 1, min(position + length, limit)):
            row, context = read(step)
            if not _same(placed[0][0], context):
                break
            rows.append(row)
        n, shared = len(rows), placed[0][1]
        if stacked:
            return Piece(n, [(place(_stack(rows, length), mesh, None), shared, np.int32(n))])
        return Piece(n, [(place(row, mesh), shared, np.int32(1)) for row in rows])

    return take


def place_context(context: Batch, mesh: Mesh | None) -> Batch:
    """What all examples share, replicated over the mesh."""
    if mesh is None:
        return jax.device_put(context)
    whole = NamedSharding(mesh, P())
    put = lambda leaf: jax.make_array_from_process_local_data(whole, np.asarray(leaf))
    return jax.tree.map(put, context)


def requests(mesh: Mesh | None) -> Callable[[int], Any]:
    """`request(number)`: this process's number on each of its devices, for the program to compare.

    The largest over all processes comes back with the chunk, so that a pod agrees on saving at one
    step without another round of messages.
    """

    def request(number: int) -> Any:
        if mesh is None:
            return np.int32(number)
        where, shape = NamedSharding(mesh, P(DATA)), (mesh.shape[DATA],)
        fill = lambda index: np.full(np.empty(shape)[index].shape, number, np.int32)
        return jax.make_array_from_callback(shape, where, fill)

    return request


def _same(leaves: list, context: Batch) -> bool:
    found = jax.tree.leaves(context)
    return len(leaves) == len(found) and all(a is b for a, b in zip(leaves, found, strict=True))


def _stack(rows: list[Batch], length: int) -> Batch:
    def one(*leaves: np.ndarray) -> np.ndarray:
        whole = np.zeros((length, *leaves[0].shape), leaves[0].dtype)
        np.stack(leaves, out=whole[: len(leaves)])
        return whole

    return jax.tree.map(one, *rows)


def _kinds(batch: Batch, step: int) -> dict[str, tuple[str, list[int]]]:
    kinds = {}
    for keys, leaf in jax.tree.leaves_with_path(batch):
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        if np.dtype(leaf.dtype).kind in "OUSMm":
            raise ValueError(
                f"batches({step}): {path(keys)} has dtype {leaf.dtype}; expected numbers or bools"
            )
        kinds[path(keys)] = (str(jax.dtypes.canonicalize_dtype(leaf.dtype)), list(leaf.shape))
    return kinds


def _compare(expected: dict, found: dict, here: str, there: str) -> None:
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            want, have = (
                "no such leaf" if kind is None else f"{kind[0]} {kind[1]}"
                for kind in (expected.get(name), found.get(name))
            )
            raise ValueError(
                f"{here}: {name} is not like in {there}: expected {want}, found {have}; "
                "every batch needs the same shapes and dtypes"
            )
