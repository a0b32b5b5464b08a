"""Evaluation over exactly N examples, whatever the batch and the number of devices."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxlearn.core import axis
from jaxlearn.core.contracts import CONTEXT, Batch, PyTree
from jaxlearn.core.trees import batch_size
from jaxlearn.runtime.pace import pacer
from jaxlearn.runtime.parallel import batch_specs, spmd

MASK = "mask"
PerExample = Callable[[PyTree, Batch], jax.Array]
Predict = Callable[[PyTree, PyTree, Batch], tuple[PyTree, PyTree]]


def evaluator(
    predict: Predict,
    metrics: dict[str, PerExample],
    eval_batches: Iterable[Batch] | Callable[[], Iterable[Batch]],
    mesh: Mesh | None = None,
) -> Callable[[Any], dict[str, float]]:
    """`evaluate(state) -> {name: mean over all examples}`, compiled once for the same functions.

    Every batch is filled up to the size of the first one, rounded up to the devices, and the rows
    that fill it up are masked, so that each example counts once and no other counts at all.

    Args:
        predict: a rule's `predict`: `(params, state, batch) -> (outputs, state)`.
        metrics: `metric(outputs, batch) -> [B]`, one number per example.
        eval_batches: a list of host batches, or a function that returns an iterable of them; the
            same on every process. Where they hold a `"mask"` [B], only its ones count.
        mesh: the devices to share each batch; one by default.

    Raises:
        ValueError: when there are no examples, a batch is larger than the first one, or a metric
            does not return one number per example.

    Example:
        >>> from jaxlearn.core import TrainState
        >>> correct = lambda outputs, batch: outputs == batch["labels"]
        >>> data = [
        ...     {"inputs": np.arange(2), "labels": np.array([0, 5])},
        ...     {"inputs": np.arange(1), "labels": np.array([0])},
        ... ]
        >>> evaluate = evaluator(lambda p, s, b: (b["inputs"], s), {"accuracy": correct}, data)
        >>> round(evaluate(TrainState(0, {}, {}, (), jax.random.key(0)))["accuracy"], 4)
        0.6667
    """

    chosen = tuple(metrics.items())

    def evaluate(state: Any) -> dict[str, float]:
        pace = pacer()
        whole = eval_batches() if callable(eval_batches) else eval_batches
        results = [
            pace(_sums(predict, chosen, mesh, state.params, state.state, batch))
            for batch in _filled(whole, mesh)
        ]
        counts, totals = zip(*jax.device_get(results), strict=True) if results else ((0,), ())
        if sum(counts) == 0:
            raise ValueError("no examples to evaluate; check the evaluation set and its masks")
        n = sum(int(count) for count in counts)
        return {name: sum(float(total[name]) for total in totals) / n for name in metrics}

    return evaluate


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sums(
    predict: Predict,
    metrics: tuple[tuple[str, PerExample], ...],
    mesh: Mesh | None,
    params: PyTree,
    state: PyTree,
    batch: Batch,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    def sums(params: PyTree, state: PyTree, batch: Batch) -> tuple[jax.Array, dict]:
        outputs, _ = predict(params, state, batch)
        mask = batch[MASK]
        totals = {name: _total(name, metric(outputs, batch), mask) for name, metric in metrics}
        found = (jnp.sum(mask, dtype=jnp.int32), totals)
        return lax.psum(found, axis.DATA) if axis.bound() else found

    return spmd(sums, mesh, (P(), P(), batch_specs(batch)), P())(params, state, batch)


def _total(name: str, values: jax.Array, mask: jax.Array) -> jax.Array:
    if jnp.shape(values) != mask.shape:
        raise ValueError(
            f"metric {name!r} returned shape {jnp.shape(values)}; expected one number per example, "
            f"{mask.shape}"
        )
    # not a product: what stands in a masked row may be NaN
    return jnp.sum(jnp.where(mask, values.astype(jnp.float32), 0))


def _filled(batches: Iterable[Batch], mesh: Mesh | None) -> Iterable[Batch]:
    size = 0
    for batch in batches:
        rows = batch_size({k: v for k, v in batch.items() if k != MASK})
        devices = 1 if mesh is None else mesh.shape[axis.DATA]
        size = size or -(-rows // devices) * devices
        if rows > size:
            raise ValueError(f"an evaluation batch of {rows} after one of {size}; sort them")
        yield _place(_fill(batch, rows, size), mesh)


def _fill(batch: Batch, rows: int, size: int) -> Batch:
    places = np.minimum(np.arange(size), rows - 1)
    mask = np.asarray(batch.get(MASK, np.ones(rows))) > 0
    filled = {
        name: value
        if name == CONTEXT
        else jax.tree.map(lambda leaf: np.asarray(leaf)[places], value)
        for name, value in batch.items()
    }
    return filled | {MASK: mask[places] & (np.arange(size) < rows)}


def _place(batch: Batch, mesh: Mesh | None) -> Batch:
    if mesh is None:
        return batch
    put = lambda leaf, spec: jax.make_array_from_callback(
        np.shape(leaf), NamedSharding(mesh, spec), lambda index: np.asarray(leaf)[index]
    )
    return jax.tree.map(put, batch, batch_specs(batch))
