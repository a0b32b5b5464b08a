"""Many steps in one dispatch: the loop over a chunk of batches that runs on the device."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxlearn.core import axis
from jaxlearn.core.contracts import Batch, PyTree
from jaxlearn.core.step import Step
from jaxlearn.core.trees import path
from jaxlearn.runtime.finite import watched
from jaxlearn.runtime.parallel import batch_specs, spmd
from jaxlearn.runtime.sharding import Layout, keep


class Result(NamedTuple):
    """What a program said about `count` steps from `start` on; arrays still on the device.

    Attributes:
        start: the step before the first of them.
        counts: steps of each dispatch.
        metrics: metrics of each dispatch.
        request: the largest request of any process (0: nothing).
    """

    start: int
    counts: list[int]
    metrics: list[PyTree]
    request: jax.Array

    def rows(self) -> list[dict[str, Any]]:
        """One dict per step, its number under `"step"`; waits for the device."""
        rows = []
        for n, metrics in zip(self.counts, jax.device_get(self.metrics), strict=True):
            lists = {name: np.asarray(values)[:n].tolist() for name, values in metrics.items()}
            first = self.start + len(rows) + 1
            rows += [
                {"step": first + i} | {name: values[i] for name, values in lists.items()}
                for i in range(n)
            ]
        return rows


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def device_loop(
    step: Step,
    on_nan: str,
    mesh: Mesh | None,
    layout: Layout | None,
    state: PyTree,
    fine: jax.Array,
    batches: Batch,
    context: Batch,
    n: jax.Array,
    request: jax.Array,
) -> tuple[PyTree, PyTree, jax.Array, jax.Array]:
    """`n <= chunk` steps on `[chunk, B, ...]` batches: `(state, fine, metrics, largest request)`.

    `n` is a number the program receives, so one compilation serves every length, and a trajectory
    does not depend on where it was cut into chunks. Metrics come back in buffers `[chunk, ...]`.
    Compiled once for a step, however many runs take it. The state comes back laid out as it came,
    where `layout` says how. `fine` is whether all losses so far were finite, see `watched`.
    """
    whole = watched(checked(step), on_nan)

    def run(state: PyTree, fine: jax.Array, batches: Batch, context: Batch, n: jax.Array, request):
        def at(i: jax.Array) -> Batch:
            return jax.tree.map(lambda leaf: leaf[i], batches) | context

        size = jax.tree.leaves(batches)[0].shape[0]
        shapes = jax.eval_shape(step, state, at(jnp.int32(0)))
        buffers = jax.tree.map(lambda leaf: jnp.zeros((size, *leaf.shape), leaf.dtype), shapes[1])

        def body(i: jax.Array, carry: tuple) -> tuple:
            state, fine, buffers = carry
            state, metrics, fine = whole(state, at(i), fine)
            return state, fine, jax.tree.map(lambda b, m: b.at[i].set(m), buffers, metrics)

        return *lax.fori_loop(0, n, body, (state, fine, buffers)), _largest(request)

    specs = (P(), P(), batch_specs(batches, None), P(), P(), P(axis.DATA))
    state, *said = spmd(run, mesh, specs, P())(state, fine, batches, context, n, request)
    return keep(state, layout), *said


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=4)
def host_loop(
    step: Step,
    on_nan: str,
    mesh: Mesh | None,
    layout: Layout | None,
    state: PyTree,
    fine: jax.Array,
    batch: Batch,
    context: Batch,
    n: jax.Array,
    request: jax.Array,
) -> tuple[PyTree, PyTree, jax.Array, jax.Array]:
    """One step on `[B, ...]`, dispatched by the host, with metrics in buffers of length 1."""
    whole = watched(checked(step), on_nan)

    def run(state: PyTree, fine: jax.Array, batch: Batch, context: Batch, n: jax.Array, request):
        state, metrics, fine = whole(state, batch | context, fine)
        return state, fine, jax.tree.map(lambda m: m[None], metrics), _largest(request)

    specs = (P(), P(), batch_specs(batch), P(), P(), P(axis.DATA))
    state, *said = spmd(run, mesh, specs, P())(state, fine, batch, context, n, request)
    return keep(state, layout), *said


def convolves(jaxpr: Any, platform: str) -> bool:
    """Whether a convolution is among a jaxpr's operations, those of loops and calls included.

    Of a choice by platform only the branch that the platform takes counts.
    """
    for equation in jaxpr.eqns:
        params, choices = dict(equation.params), equation.params.get("branches_platforms")
        if choices is not None:
            named = [i for i, names in enumerate(choices) if names and platform in names]
            params["branches"] = params["branches"][(named or [choices.index(None)])[0]]
        inner = (getattr(value, "jaxpr", value) for value in jax.tree.leaves(params))
        if equation.primitive.name == "conv_general_dilated" or any(
            convolves(value, platform) for value in inner if hasattr(value, "eqns")
        ):
            return True
    return False


def checked(step: Step) -> Step:
    """The step, refused while it is traced where its state is not like the one it received."""

    def checking(state: Any, batch: Batch) -> tuple[Any, PyTree]:
        new, metrics = step(state, batch)
        return same_kind(state, new), metrics

    return checking


def same_kind(old: PyTree, new: PyTree) -> PyTree:
    """`new`, checked to have the tree, shapes and dtypes of `old`; weak types become strong.

    Raises:
        ValueError: naming the leaf that the step changed.
    """
    if jax.tree.structure(old) != jax.tree.structure(new):
        raise ValueError(
            f"the step changed the tree of the state: expected {jax.tree.structure(old)}, "
            f"found {jax.tree.structure(new)}; return a state like the one received"
        )

    def one(keys: tuple, before: jax.Array, after: jax.Array) -> jax.Array:
        if (before.shape, before.dtype) != (jnp.shape(after), jnp.asarray(after).dtype):
            raise ValueError(
                f"the step changed {path(keys)}: expected {before.dtype} {list(before.shape)}, "
                f"found {jnp.asarray(after).dtype} {list(jnp.shape(after))}; cast it in the step"
            )
        weak = getattr(after, "weak_type", False)
        return lax.convert_element_type(after, before.dtype) if weak else jnp.asarray(after)

    return jax.tree.map_with_path(one, old, new)


def _largest(request: jax.Array) -> jax.Array:
    largest = jnp.max(request)
    return lax.pmax(largest, axis.DATA) if axis.bound() else largest
