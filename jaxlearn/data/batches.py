"""Training batches as a function of the step, so that resuming needs no more than the step."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from jaxlearn.data.splits import random_order

Batch = dict[str, Any]


class Batches(NamedTuple):
    """`batches(step)` is the host batch of that global step; its cost does not grow with the step.

    Attributes:
        at: the function itself.
        batch_size: examples of one whole batch.
        steps_per_epoch: after so many steps every example was seen once (up to the dropped tail).
    """

    at: Callable[[int], Batch]
    batch_size: int
    steps_per_epoch: int

    def __call__(self, step: int) -> Batch:
        """The batch of global step `step` (0 is the first)."""
        if step < 0:
            raise ValueError(f"step={step}; steps count from 0")
        return self.at(int(step))


@runtime_checkable
class RandomAccess(Protocol):
    """Anything with `len(source)` and `source[i] -> {name: array}`."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def steps_per_epoch(n: int, batch_size: int, *, drop_last: bool = True) -> int:
    """floor(n / batch_size), or ceil if the last short batch is kept.

    >>> steps_per_epoch(10, 4), steps_per_epoch(10, 4, drop_last=False)
    (2, 3)
    """
    if not 1 <= batch_size <= n:
        raise ValueError(
            f"batch_size={batch_size} with {n} examples gives 0 steps per epoch; "
            "it has to be at least 1 and at most the number of examples"
        )
    return n // batch_size if drop_last else -(-n // batch_size)


def rows(n: int, batch_size: int, *, seed: int, drop_last: bool = True) -> Callable[[int], Any]:
    """step -> positions int64 of that step: a new permutation per epoch, keyed by (seed, epoch).

    No batch straddles two epochs.
    """
    per_epoch = steps_per_epoch(n, batch_size, drop_last=drop_last)
    order = lru_cache(maxsize=2)(lambda epoch: random_order(n, seed, epoch))

    def at(step: int) -> np.ndarray:
        epoch, place = divmod(step, per_epoch)
        return order(epoch)[place * batch_size : (place + 1) * batch_size]

    return at


def batches(arrays: Batch, batch_size: int, *, seed: int, drop_last: bool = True) -> Batches:
    """Shuffled batches of arrays in memory, deterministic by (seed, step).

    Args:
        arrays: every leaf has the N examples on axis 0, but for "context", which all examples share
            and every batch carries whole. "index" int32 (0..N-1) is added where it is not given.
        batch_size: of the global batch; `shard` takes one process's rows of it.
        seed: of the order.
        drop_last: leave out what is left of an epoch after its last whole batch.

    Raises:
        ValueError: with the numbers, when `batch_size` exceeds N.

    >>> data = batches({"inputs": np.arange(6.0)}, 2, seed=0)
    >>> data.steps_per_epoch, sorted(np.concatenate([data(s)["index"] for s in range(3)]).tolist())
    (3, [0, 1, 2, 3, 4, 5])
    """
    arrays = indexed(arrays)
    n = count(arrays)
    pick = rows(n, batch_size, seed=seed, drop_last=drop_last)
    per_epoch = steps_per_epoch(n, batch_size, drop_last=drop_last)
    return Batches(lambda step: take(arrays, pick(step)), batch_size, per_epoch)


def full_batch(arrays: Batch) -> Batches:
    """All examples at every step, in their order (graphs, small problems)."""
    arrays = indexed(arrays)
    return Batches(lambda step: dict(arrays), count(arrays), 1)


def shard(whole: Batches, process_index: int, process_count: int) -> Batches:
    """One process's rows of every global batch: part `process_index` of `process_count`.

    The parts put end to end are the global batch, so the training does not depend on how many
    processes share it. "context" stays whole.
    """
    own = own_slice(whole.batch_size, process_index, process_count)

    def at(step: int) -> Batch:
        batch = whole(step)
        if (found := count(batch)) != whole.batch_size:
            raise ValueError(f"batch of {found} at step {step}, not {whole.batch_size}; drop_last")
        return take(batch, own)

    return Batches(at, own.stop - own.start, whole.steps_per_epoch)


def own_slice(size: int, process_index: int, process_count: int) -> slice:
    """Which of `size` examples are part `process_index` of `process_count` equal parts.

    >>> own_slice(8, 1, 4)
    slice(2, 4, None)
    """
    part, left = divmod(size, process_count)
    if left or not 0 <= process_index < process_count:
        raise ValueError(
            f"process {process_index} of {process_count} cannot take its part of a batch of "
            f"{size}; the batch size has to be a multiple of the process count"
        )
    return slice(process_index * part, (process_index + 1) * part)


def padded(arrays: Batch, batch_size: int) -> list[Batch]:
    """All examples once, in order, in batches of one shape, for evaluation.

    "mask" float32 [batch_size] is 1 for examples and 0 for the copies of the last example that
    fill up the last batch; over all batches it sums to N exactly.

    >>> [b["mask"].tolist() for b in padded({"inputs": np.arange(3)}, 2)]
    [[1.0, 1.0], [1.0, 0.0]]
    """
    arrays = indexed(arrays)
    n = count(arrays)
    if batch_size < 1 or n < 1:
        raise ValueError(f"batch_size={batch_size} for {n} examples; both have to be at least 1")
    result = []
    for start in range(0, n, batch_size):
        places = np.arange(start, start + batch_size)
        batch = take(arrays, np.minimum(places, n - 1))
        result.append({**batch, "mask": (places < n).astype(np.float32)})
    return result


def from_random_access(
    source: RandomAccess, batch_size: int, *, seed: int, drop_last: bool = True
) -> Batches:
    """Batches out of a source that reads one example at a time, with the same order and resuming.

    A grain pipeline of maps is such a source (`grain.MapDataset`), and so is any memory-mapped or
    record file with `__len__` and `__getitem__`; do not shuffle or repeat it, that is done here::

        images = grain.MapDataset.source(files).map(decode)  # item: {"inputs": ..., "labels": ...}
        data = from_random_access(images, 256, seed=0)
        data(step)  # reads 256 items, wherever step is
    """
    n = len(source)
    pick = rows(n, batch_size, seed=seed, drop_last=drop_last)

    def at(step: int) -> Batch:
        places = pick(step)
        items = [source[int(i)] for i in places]
        batch = {key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0]}
        return {"index": places.astype(np.int32), **batch}

    return Batches(at, batch_size, steps_per_epoch(n, batch_size, drop_last=drop_last))


def indexed(arrays: Batch) -> Batch:
    """The arrays with "index" = 0..N-1, unless they bring their own; checks that lengths agree."""
    n = count(arrays)
    return {"index": np.arange(n, dtype=np.int32), **arrays}


def count(arrays: Batch) -> int:
    """Number of examples N: the common length of every leaf outside "context"."""
    own = {key: value for key, value in arrays.items() if key != "context"}
    shapes = {key: [np.shape(leaf) for leaf in jax.tree.leaves(own[key])] for key in own}
    sizes = {shape[:1] for leaves in shapes.values() for shape in leaves}
    if len(sizes) != 1 or sizes == {()}:
        raise ValueError(f"arrays need the same number of examples on axis 0, found {shapes}")
    return sizes.pop()[0]


def take(arrays: Batch, places: np.ndarray | slice) -> Batch:
    """The examples at `places` of every leaf; "context" as it is."""
    return {
        key: value
        if key == "context"
        else jax.tree.map(lambda leaf: np.asarray(leaf)[places], value)
        for key, value in arrays.items()
    }
