"""Small operations on pytrees, on state collections and on batches."""

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import CONTEXT, SEQUENCE, Batch, PyTree, State


def add(a: PyTree, b: PyTree) -> PyTree:
    """`a + b`, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)


def scale(factor: float, tree: PyTree) -> PyTree:
    """`factor * tree`, leaf by leaf, in the leaves' own dtypes."""
    return jax.tree.map(lambda leaf: (leaf * factor).astype(leaf.dtype), tree)


def zeros_like(tree: PyTree) -> PyTree:
    """Zeros of the same shapes and dtypes."""
    return jax.tree.map(jnp.zeros_like, tree)


def path(keys: Iterable) -> str:
    """A key path as text: `"0/kernel"`.

    Example:
        >>> [path(keys) for keys, _ in jax.tree.leaves_with_path({"a": {"b": 1}})]
        ['a/b']
    """
    return jax.tree_util.keystr(tuple(keys), simple=True, separator="/")


def lasting(state: State) -> State:
    """The collections that outlive a sequence."""
    return {name: value for name, value in state.items() if name != SEQUENCE}


def part(state: State, name: str) -> State:
    """The share of one component: of every collection the entry `name`, where there is one."""
    return {collection: sub[name] for collection, sub in state.items() if name in sub}


def joined(parts: dict[str, State]) -> State:
    """The inverse of `part`: collection first, component second.

    Example:
        >>> joined({"0": {"batch_stats": 1}, "1": {"batch_stats": 2, "sequence": 3}})
        {'batch_stats': {'0': 1, '1': 2}, 'sequence': {'1': 3}}
    """
    state: State = {}
    for name, sub in parts.items():
        for collection, value in sub.items():
            state.setdefault(collection, {})[name] = value
    return state


def over_examples(fn: Callable, batch: Batch) -> Batch:
    """Apply `fn` to every leaf that has the examples on axis 0, leaving the context alone."""
    return {k: v if k == CONTEXT else jax.tree.map(fn, v) for k, v in batch.items()}


def batch_size(batch: Batch) -> int:
    """The number of examples of a batch.

    Raises:
        ValueError: when the batch is empty, a leaf is a scalar, two leaves disagree, or there are
            0 examples.
    """
    sizes = {}
    for name, value in batch.items():
        for keys, leaf in jax.tree.leaves_with_path(value) if name != CONTEXT else ():
            where = f"batch[{name!r}]{path(keys)}"
            if jnp.ndim(leaf) == 0:
                raise ValueError(f"{where} is a scalar; every leaf needs the examples on axis 0")
            sizes[where] = leaf.shape[0]
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{where} has {size}" for where, size in sizes.items())
        raise ValueError(f"the leaves of the batch disagree on the number of examples: {listed}")
    if not sizes:
        raise ValueError("the batch is empty; it needs at least 'inputs'")
    size = next(iter(sizes.values()))
    if size == 0:
        raise ValueError("a batch of 0 examples has no mean; it needs at least one")
    return size
