"""Data parallelism: the batch is split over the mesh axis `"data"`, all else is alike along it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.core.axis import DATA
from jaxlearn.core.contracts import CONTEXT, Batch, PyTree
from jaxlearn.core.step import Step
from jaxlearn.core.trees import batch_size
from jaxlearn.runtime.pace import pacer
from jaxlearn.runtime.raw import is_key, rewrap, unwrap
from jaxlearn.runtime.sharding import Layout, keep, layout, places


def batch_specs(batch: Batch, *lead: None) -> PyTree:
    """`P(*lead, "data")` for every leaf of a batch, `P()` under `"context"`.

    Example:
        >>> batch_specs({"inputs": np.zeros((2, 3))}, None) == {"inputs": P(None, "data")}
        True
    """
    split, whole = P(*lead, DATA), P()
    return {
        name: jax.tree.map(lambda _, name=name: whole if name == CONTEXT else split, value)
        for name, value in batch.items()
    }


def spmd(function: Callable, mesh: Mesh | None, in_specs: PyTree, out_specs: PyTree) -> Callable:
    """`function` on every device of the data axis, by `shard_map`; itself without a mesh.

    `check_vma=False`: otherwise the gradient at each use of a replicated parameter would be summed
    over the devices before the step takes its mean.
    """
    if mesh is None:
        return function
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=in_specs,
        out_specs=out_specs,
        axis_names={DATA},
        check_vma=False,
    )


def data_parallel(step: Step, mesh: Mesh) -> Step:
    """The step over all devices of the mesh, jitted, its state donated.

    The leaves of the batch are split over `"data"` (see `place`), and what the step returns is the
    same along this axis because the step averages over it. A state that is shared out over the
    mesh's axis `"model"` comes back laid out as it came.

    Example:
        >>> from jaxlearn.runtime.mesh import data_mesh
        >>> mesh = data_mesh(jax.devices()[:1])
        >>> step = data_parallel(lambda s, b: (s + 1, {"loss": b["inputs"].sum()}), mesh)
        >>> int(step(jnp.int32(0), place({"inputs": np.ones(4)}, mesh))[0])
        1
    """
    compiled, pace = shared_step(step, mesh), pacer()

    def run(state: PyTree, batch: Batch) -> tuple[PyTree, PyTree]:
        state, metrics = compiled(layout(state, mesh), state, batch)
        return state, pace(metrics)

    return run


def shared_step(step: Step, mesh: Mesh) -> jax.stages.Wrapped:
    """What `data_parallel` calls: jitted, of `(layout(state, mesh), state, batch)`."""

    def run(layout: Layout | None, state: PyTree, batch: Batch) -> tuple[PyTree, PyTree]:
        new, metrics = spmd(step, mesh, (P(), batch_specs(batch)), P())(state, batch)
        return keep(new, layout), metrics

    return jax.jit(run, static_argnums=0, donate_argnums=1)


def check_divides(rows: int, mesh: Mesh | None) -> None:
    """Refuse a batch that the devices cannot share evenly.

    Args:
        rows: examples that this process brings to the batch.
        mesh: the mesh, or `None` for one device.

    Raises:
        ValueError: with the three numbers: batch, devices and processes.
    """
    devices = 1 if mesh is None else mesh.shape[DATA]
    processes = 1 if mesh is None else len({d.process_index for d in mesh.devices.flat})
    if rows * processes % devices or not rows:
        raise ValueError(
            f"a batch of {rows * processes} does not divide over {devices} devices in {processes} "
            f"processes; use a multiple of {devices}"
        )


def place(batch: Batch, mesh: Mesh | None, *lead: None) -> Batch:
    """Put this process's rows of a batch on its devices.

    Args:
        batch: host arrays; in a run of several processes only the rows of this one.
        mesh: the mesh, or `None` for the default device.
        lead: one `None` per axis that comes before the examples (a chunk of batches has one).

    Raises:
        ValueError: when the examples do not divide over the devices.
    """
    if mesh is None:
        return jax.device_put(batch)
    examples = {name: value for name, value in batch.items() if name != CONTEXT}
    rows = jax.tree.map(lambda leaf: leaf[(0,) * len(lead)] if lead else leaf, examples)
    check_divides(batch_size(rows), mesh)
    put = lambda leaf, spec: jax.make_array_from_process_local_data(
        NamedSharding(mesh, spec), np.asarray(leaf)
    )
    return jax.tree.map(put, batch, batch_specs(batch, *lead))


def distribute(state: PyTree, mesh: Mesh | None) -> PyTree:
    """A copy of the state on the devices, in arrays of its own that a step may consume.

    Every device has the whole of it, or, on a mesh with an axis `"model"`, its share of every large
    array (`sharding.places`). Leaves that are already spread over the devices of the mesh keep
    their sharding. Every process has to bring the same values.
    """
    if mesh is None:
        return jax.jit(_copy)(state)
    devices = set(mesh.devices.flat)

    def at_home(leaf: object) -> bool:
        return isinstance(leaf, jax.Array) and leaf.sharding.device_set == devices

    raw = jax.tree.map(lambda leaf: leaf if at_home(leaf) else np.asarray(leaf), unwrap(state))
    where = jax.tree.map(
        lambda leaf, place: leaf.sharding if at_home(leaf) else place, raw, places(raw, mesh)
    )
    return rewrap(jax.jit(_copy, out_shardings=where)(raw), state)


def _copy(tree: PyTree) -> PyTree:
    def one(leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return jnp.copy(leaf if is_key(leaf) else lax.convert_element_type(leaf, leaf.dtype))

    return jax.tree.map(one, tree)
