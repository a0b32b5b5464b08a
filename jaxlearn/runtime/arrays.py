"""A pytree of arrays in a folder, by orbax, and its description in plain JSON."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxlearn.core.contracts import PyTree
from jaxlearn.core.trees import path
from jaxlearn.runtime.raw import rewrap, unwrap

Kinds = dict[str, list]
BLOCK = 4096


def write(folder: Path, tree: PyTree) -> None:
    """Write every leaf; typed keys as their data. All processes of a run take part.

    Leaves of size zero have no data and are left out: their shape says all.
    """
    with _checkpointer() as checkpointer:
        checkpointer.save(folder.absolute(), args=ocp.args.PyTreeSave(_flat(unwrap(tree))))


def read(folder: Path, like: PyTree) -> PyTree:
    """The tree that was written, with the structure and the devices of `like`.

    `like` is a tree of arrays, on any number of devices; its values do not matter.
    """
    raw = unwrap(like)
    wanted = _flat(raw)
    how = {name: _how(leaf) for name, leaf in wanted.items()}
    with _checkpointer() as checkpointer:
        stored = checkpointer.restore(
            folder.absolute(), args=ocp.args.PyTreeRestore(item=wanted, restore_args=how)
        )
    found = {
        name: jax.device_put(leaf) if isinstance(leaf, np.ndarray) else leaf
        for name, leaf in stored.items()
    }
    leaves, structure = jax.tree.flatten(raw)
    filled = [found.get(name, leaf) for name, leaf in zip(_names(raw), leaves, strict=True)]
    return rewrap(structure.unflatten(filled), like)


def space(tree: PyTree) -> int:
    """Bytes that `write` takes on the disk at most, by and large.

    Example:
        >>> space({"w": np.zeros((2, 3), np.float32)}) - 2 * 3 * 4
        69632
    """
    leaves = jax.tree.leaves(unwrap(tree))
    return sum(leaf.nbytes for leaf in leaves) + BLOCK * (len(leaves) + 16)


def kinds(tree: PyTree) -> Kinds:
    """Name -> [dtype, shape] of every leaf.

    Example:
        >>> kinds({"w": np.zeros((2, 3), np.float32)})
        {'w': ['float32', [2, 3]]}
    """
    raw = unwrap(tree)
    leaves = zip(_names(raw), jax.tree.leaves(raw), strict=True)
    return {name: [str(leaf.dtype), list(np.shape(leaf))] for name, leaf in leaves}


def difference(stored: Kinds, wanted: Kinds) -> str:
    """The first leaf that differs, with what was expected and what was found; `""` if none."""
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            return f"{name}: expected {_kind(wanted, name)}, found {_kind(stored, name)}"
    return ""


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _how(leaf: jax.Array) -> ocp.RestoreArgs:
    if leaf.committed:
        return ocp.ArrayRestoreArgs(
            restore_type=jax.Array, sharding=leaf.sharding, dtype=leaf.dtype
        )
    # orbax would tie it to its device, and a program for tied arrays is another one: a resumed run
    # would not find its own in the compilation cache
    return ocp.RestoreArgs(restore_type=np.ndarray, dtype=leaf.dtype)


def _flat(raw: PyTree) -> dict[str, Any]:
    named = zip(_names(raw), jax.tree.leaves(raw), strict=True)
    return {name: leaf for name, leaf in named if leaf.size}


def _names(raw: PyTree) -> list[str]:
    paths = [keys for keys, _ in jax.tree.leaves_with_path(raw)]
    names = [path(keys) for keys in paths]
    # keys such as 0 and "0", or "a/b", look alike in the short form
    unique = len(set(names)) == len(names)
    return names if unique else [jax.tree_util.keystr(keys) for keys in paths]


def _kind(kinds: Kinds, name: str) -> str:
    return f"{kinds[name][0]} {kinds[name][1]}" if name in kinds else "no such leaf"
