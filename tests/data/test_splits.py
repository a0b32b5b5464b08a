"""Divisions: sizes, disjointness, proportions, and the published fixture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.data.splits import carve, kfold_split, random_order, stratified_order

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(np.array)


def test_forwardgnn_fixture():
    split = kfold_split(2995, 0)
    assert [len(ids) for ids in split] == [1916, 480, 599]
    assert split.test[:5].tolist() == [4, 6, 7, 9, 18]


@pytest.mark.parametrize("fold", range(5))
def test_forwardgnn_rule_written_out_in_numpy(fold):
    n = 103
    order = np.arange(n)
    np.random.RandomState(101).shuffle(order)
    sizes = [21, 21, 21, 20, 20]
    start = sum(sizes[:fold])
    test = np.sort(order[start : start + sizes[fold]])
    rest = np.setdiff1d(np.arange(n), test)
    drawn = np.random.RandomState(127 * fold).permutation(len(rest))
    held = -(-len(rest) // 5)
    split = kfold_split(n, fold)
    assert np.array_equal(split.test, test)
    assert np.array_equal(split.validation, np.sort(rest[drawn[:held]]))
    assert np.array_equal(split.train, np.sort(rest[drawn[held:]]))


@pytest.mark.parametrize("n", [5, 6, 11, 1000])
def test_folds_cover_every_node_once(n):
    splits = [kfold_split(n, fold) for fold in range(5)]
    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == list(range(n))
    for split in splits:
        assert sorted(np.concatenate(split).tolist()) == list(range(n))


def test_impossible_folds_are_refused():
    with pytest.raises(ValueError, match="fold=5"):
        kfold_split(100, 5)
    with pytest.raises(ValueError, match="n=4"):
        kfold_split(4, 0)


@given(LABELS, st.none() | st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_every_prefix_of_the_stratified_order_is_proportional(labels, seed):
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    onehot = labels[order][:, None] == np.arange(5)
    share = np.outer(np.arange(1, len(labels) + 1) / len(labels), onehot.sum(0))
    classes = np.count_nonzero(onehot.sum(0))
    assert np.abs(onehot.cumsum(0) - share).max() <= max(1, classes / 2)


def test_interleaved_labels_keep_their_order():
    assert stratified_order(np.arange(30) % 10).tolist() == list(range(30))


@given(LABELS, st.data())
@settings(max_examples=100, deadline=None)
def test_carve_is_disjoint_exact_and_reproducible(labels, data):
    validation = data.draw(st.integers(0, len(labels) - 1))
    train = data.draw(st.none() | st.integers(1, len(labels) - validation))
    split = carve(labels, train=train, validation=validation, seed=1)
    assert len(split.validation) == validation
    assert len(split.train) == (len(labels) - validation if train is None else train)
    assert not np.intersect1d(split.train, split.validation).size
    again = carve(labels, train=train, validation=validation, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))


def test_a_shorter_training_part_is_a_prefix_of_a_longer_one():
    labels = np.random.default_rng(0).integers(0, 10, 500)
    short = carve(labels, train=100, validation=50, seed=3)
    long = carve(labels, train=None, validation=50, seed=3)
    assert np.array_equal(short.train, long.train[:100])
    assert np.array_equal(short.validation, long.validation)


def test_random_order_follows_the_promised_words_of_philox():
    words = np.random.Philox(np.random.SeedSequence((3, 5))).random_raw(100)
    order = random_order(100, 3, 5)
    assert (np.diff(words[order].astype(object)) > 0).all()
    assert sorted(order.tolist()) == list(range(100))
