"""State that is shared out over the mesh axis `"model"`, for models larger than one device.

The axis is the compiler's: rules, transforms and objectives are written as if every array were
whole, and the compiler gathers or splits their products.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.core.contracts import PyTree
from jaxlearn.runtime.mesh import MODEL
from jaxlearn.runtime.raw import is_key

SMALLEST = 2**18
"""Numbers an array has at least to be worth splitting: smaller ones travel in one reduction."""

Layout = tuple[Any, ...]
"""The sharding of every leaf of a state, in the order of the leaves."""


def split(shape: tuple[int, ...], devices: int, smallest: int = SMALLEST) -> P:
    """Where to cut an array: along its longest axis that the devices divide, the last of equals.

    Arrays with fewer numbers than `smallest` stay whole, and so do those that nothing divides.

    Example:
        >>> split((4096, 1024), 4), split((3, 3, 512, 512), 4), split((1000,), 4)
        (P('model', None), P(None, None, None, 'model'), P())
    """
    size = 1
    for length in shape:
        size *= length
    fitting = [axis for axis, length in enumerate(shape) if length and length % devices == 0]
    if devices == 1 or size < smallest or not fitting:
        return P()
    axis = max(fitting, key=lambda axis: (shape[axis], axis))
    return P(*(MODEL if i == axis else None for i in range(len(shape))))


def places(tree: PyTree, mesh: Mesh, smallest: int = SMALLEST) -> PyTree:
    """The sharding of every leaf: `split` over the axis `"model"`, whole where there is no such.

    It follows from shapes alone, so that a parameter, its moments and its mask are cut alike.

    Args:
        tree: arrays, or their shapes.
        mesh: of `data_mesh`.
        smallest: see `split`.
    """
    devices = mesh.shape.get(MODEL, 1)

    def one(leaf: Any) -> NamedSharding:
        shape = () if is_key(leaf) else leaf.shape
        return NamedSharding(mesh, split(shape, devices, smallest))

    return jax.tree.map(one, tree)


def make_sharded(make: Callable[[], PyTree], mesh: Mesh, smallest: int = SMALLEST) -> PyTree:
    """What `make()` returns, every device computing its own share of the values only.

    For states that no device could hold whole.

    Example:
        >>> from jaxlearn.runtime.mesh import data_mesh
        >>> make = lambda: jax.random.normal(jax.random.key(0), (1024, 512))
        >>> make_sharded(make, data_mesh(jax.devices()[:1], model=1)).shape
        (1024, 512)
    """
    return jax.jit(make, out_shardings=places(jax.eval_shape(make), mesh, smallest))()


def layout(tree: PyTree, mesh: Mesh | None) -> Layout | None:
    """How arrays, or shapes with shardings, are laid out; `None` without the axis.

    To hold a program's results to it (`keep`).
    """
    if mesh is None or MODEL not in mesh.shape:
        return None
    return tuple(leaf.sharding for leaf in jax.tree.leaves(tree))


def keep(tree: PyTree, wanted: Layout | None) -> PyTree:
    """The same values, and for the compiler the demand to lay them out so."""
    if wanted is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    held = [jax.lax.with_sharding_constraint(*pair) for pair in zip(leaves, wanted, strict=True)]
    return structure.unflatten(held)
