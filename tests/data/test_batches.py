"""The batch stream: what is in it, that it can be entered anywhere, and how it is shared."""

import inspect
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.data.batches import (
    batches,
    from_random_access,
    full_batch,
    padded,
    shard,
    steps_per_epoch,
)
from jaxlearn.data.splits import random_order

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda p: (max(p), min(p)))


def arrays(n):
    x = np.arange(n, dtype=np.float32)
    return {"inputs": x[:, None] * 10, "labels": x.astype(np.int32)}


def equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@given(SIZES, st.booleans(), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_every_epoch_has_every_example_at_most_once(size, drop_last, seed):
    n, batch_size = size
    data = batches(arrays(n), batch_size, seed=seed, drop_last=drop_last)
    for epoch in range(2):
        steps = range(epoch * data.steps_per_epoch, (epoch + 1) * data.steps_per_epoch)
        seen = np.concatenate([data(step)["index"] for step in steps])
        assert len(np.unique(seen)) == len(seen)
        assert len(seen) == (n // batch_size * batch_size if drop_last else n)
    batch = data(0)
    assert np.array_equal(batch["inputs"][:, 0], 10.0 * batch["index"])
    assert np.array_equal(batch["labels"], batch["index"])
    assert batch["index"].dtype == np.int32


@pytest.mark.parametrize("drop_last", [True, False])
def test_restored_at_every_step_of_three_epochs(drop_last):
    make = lambda: batches(arrays(23), 5, seed=7, drop_last=drop_last)
    total = 3 * make().steps_per_epoch
    straight = [make_(step) for make_ in [make()] for step in range(total)]
    for start in range(total):
        restored = make()
        assert all(equal(restored(step), straight[step]) for step in range(start, total))


def test_cost_does_not_grow_with_the_step():
    large = arrays(200_000)
    best = {10: math.inf, 10**9: math.inf}
    for _ in range(30):  # in turn: what else the machine does slows both
        for step in best:
            data = batches(large, 100, seed=0)
            start = time.perf_counter()
            data(step)
            best[step] = min(best[step], time.perf_counter() - start)
    assert best[10**9] < 2 * best[10]


@pytest.mark.parametrize("step", [0, 10, 10**6, 10**12])
def test_entering_at_any_step_shuffles_once(step, monkeypatch):
    drawn = []
    draw = lambda n, seed, epoch: drawn.append(epoch) or random_order(n, seed, epoch)
    monkeypatch.setattr("jaxlearn.data.batches.random_order", draw)
    batches(arrays(20), 5, seed=0)(step)
    assert drawn == [step // 4]


def test_the_order_depends_on_seed_and_epoch_alone():
    index = lambda n, seed, epoch: batches(arrays(n), n, seed=seed)(epoch)["index"]
    assert np.array_equal(index(50, 1, 2), index(50, 1, 2))
    for other in (index(50, 1, 3), index(50, 2, 2)):
        assert not np.array_equal(index(50, 1, 2), other)
    data = batches(arrays(50), 50, seed=1)
    for epoch in (5, 2, 9, 2):  # whatever was asked for before
        assert np.array_equal(data(epoch)["index"], index(50, 1, epoch))
    short = batches(arrays(50), 10, seed=1)  # nor on the batch size
    assert np.array_equal(np.concatenate([short(s)["index"] for s in range(5)]), index(50, 1, 0))


def test_positions_are_uniform():
    counts = np.zeros((6, 6))
    data = batches(arrays(6), 6, seed=0)
    for epoch in range(3000):
        counts[np.arange(6), data(epoch)["index"]] += 1
    chi2 = ((counts - 500) ** 2 / 500).sum()
    assert chi2 < 60  # 25 degrees of freedom: mean 25, above 60 once in ten thousand


@pytest.mark.parametrize("n, batch_size", [(3, 4), (3, 0), (0, 1), (3, -1)])
def test_sizes_that_give_no_step_are_refused_with_the_three_numbers(n, batch_size):
    for drop_last in (True, False):
        with pytest.raises(ValueError, match=rf"batch_size={batch_size} with {n} examples gives 0"):
            batches(arrays(n), batch_size, seed=0, drop_last=drop_last)


def test_steps_per_epoch_counts_the_short_batch_if_kept():
    for n in range(1, 12):
        for size in range(1, n + 1):
            assert steps_per_epoch(n, size) == len(range(size, n + 1, size))
            assert steps_per_epoch(n, size, drop_last=False) == len(range(0, n, size))


def test_own_index_context_and_nested_leaves_are_kept():
    context = {"graph": np.arange(3)}
    given_ = {"inputs": (np.arange(4), {"b": np.arange(8).reshape(4, 2)}), "context": context}
    batch = batches({**given_, "index": np.arange(4) + 100}, 2, seed=0)(1)
    assert batch["context"] is context
    assert np.array_equal(batch["index"], batch["inputs"][0] + 100)
    assert np.array_equal(batch["inputs"][1]["b"][:, 0], 2 * batch["inputs"][0])
    assert batches(given_, 2, seed=0)(1)["index"].tolist() == batch["inputs"][0].tolist()


@pytest.mark.parametrize(
    "bad", [{}, {"context": np.ones(3)}, {"a": np.ones(3), "b": np.ones(4)}, {"a": np.float32(1)}]
)
def test_arrays_without_a_common_length_are_refused(bad):
    with pytest.raises(ValueError, match="same number of examples on axis 0"):
        batches(bad, 1, seed=0)


def test_negative_steps_are_refused():
    with pytest.raises(ValueError, match="step=-1"):
        batches(arrays(3), 1, seed=0)(-1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_shards_put_together_are_the_global_batch(count):
    whole = batches({**arrays(17), "context": np.arange(3)}, 8, seed=3)
    parts = [shard(whole, i, count) for i in range(count)]
    assert {part.batch_size for part in parts} == {8 // count}
    assert {part.steps_per_epoch for part in parts} == {2}
    for step in range(5):
        for key in ("inputs", "labels", "index"):
            assert np.array_equal(np.concatenate([p(step)[key] for p in parts]), whole(step)[key])
        assert parts[-1](step)["context"].tolist() == [0, 1, 2]


def test_batches_that_cannot_be_shared_are_refused():
    whole = batches(arrays(8), 8, seed=0)
    for index, count in ((0, 3), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match=f"process {index} of {count} .* batch of 8"):
            shard(whole, index, count)
    with pytest.raises(ValueError, match="batch of 2 at step 2, not 4"):
        shard(batches(arrays(10), 4, seed=0, drop_last=False), 0, 2)(2)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8])
def test_padded_evaluation_counts_each_example_once(n):
    parts = padded(arrays(n), 4)
    assert {part["inputs"].shape for part in parts} == {(4, 1)}
    assert sum(part["mask"].sum() for part in parts) == n
    kept = np.concatenate([part["labels"][part["mask"] == 1] for part in parts])
    assert kept.tolist() == list(range(n))
    score = sum((part["mask"] * part["inputs"][:, 0] ** 2).sum() for part in parts) / n
    assert score == np.mean(arrays(n)["inputs"] ** 2)


def test_padding_nothing_is_refused():
    for n, size in ((0, 4), (4, 0)):
        with pytest.raises(ValueError, match=f"batch_size={size} for {n} examples"):
            padded(arrays(n), size)


def test_full_batch_is_the_same_at_every_step():
    data = full_batch({**arrays(5), "context": "anything"})
    assert (data.batch_size, data.steps_per_epoch) == (5, 1)
    assert equal(data(0), data(10**6))
    assert data(0)["index"].tolist() == [0, 1, 2, 3, 4]


class Items:
    """A source that counts what is read."""

    def __init__(self, n):
        self.arrays, self.n, self.read = arrays(n), n, 0

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.read += 1
        return {key: value[index] for key, value in self.arrays.items()}


def test_random_access_gives_the_batches_of_the_arrays_and_reads_no_more():
    source = Items(11)
    data, reference = from_random_access(source, 4, seed=5), batches(source.arrays, 4, seed=5)
    for step in (7, 0, 3):
        source.read = 0
        assert equal(data(step), reference(step))
        assert source.read == 4


def test_a_grain_pipeline_is_such_a_source():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    x = np.arange(9)
    pipeline = grain.MapDataset.source(x).map(lambda v: {"inputs": v * 2, "labels": v})
    batch = from_random_access(pipeline, 3, seed=0)(4)
    assert np.array_equal(batch["inputs"], 2 * batch["index"])


def test_batches_is_a_plain_function_of_the_step():
    data = batches(arrays(3), 1, seed=0)
    assert callable(data)
    assert list(inspect.signature(data).parameters) == ["step"]
