"""Deterministic divisions into train, validation and test."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Positions of three disjoint parts, int64 each."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def random_order(n: int, *key: int) -> np.ndarray:
    """A permutation of 0..n-1 that depends on n and the key alone.

    The ranks of n raw 64-bit words of Philox seeded by `SeedSequence(key)`: numpy promises those
    words for all its versions, which it does not for `Generator.permutation`.

    >>> bool(np.array_equal(random_order(5, 1, 2), random_order(5, 1, 2)))
    True
    """
    words = np.random.Philox(np.random.SeedSequence(key)).random_raw(n)
    return np.argsort(words, kind="stable")


def stratified_order(labels: np.ndarray, seed: int | None = None) -> np.ndarray:
    """An order whose every prefix has the classes in their overall proportions, up to rounding.

    Example r of the n_c of class c gets the key (r + 1/2) / n_c; sorting by it interleaves the
    classes. With a seed the examples of each class are shuffled first.

    >>> stratified_order(np.array([0, 0, 1, 1, 1, 1])).tolist()
    [2, 0, 3, 4, 1, 5]
    """
    start = np.arange(len(labels)) if seed is None else random_order(len(labels), seed)
    by_class = start[np.argsort(labels[start], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    rank = np.concatenate([np.arange(c) for c in counts]) if len(labels) else np.zeros(0)
    place = (rank + 0.5) / np.repeat(counts, counts)
    return by_class[np.lexsort((labels[by_class], place))]


def carve(labels: np.ndarray, *, train: int | None, validation: int, seed: int) -> Split:
    """Validation by class and seed out of the training examples, then a balanced prefix.

    `train=None` takes all that is left. The test part of the result is empty.
    """
    n = len(labels)
    wanted = (1 if train is None else train) + validation
    if validation < 0 or (train is not None and train < 1) or wanted > n:
        raise ValueError(
            f"train={train} and validation={validation} out of {n} examples; ask for at least one "
            "to train on and no more than there are"
        )
    held = np.sort(stratified_order(labels, seed)[:validation])
    rest = np.setdiff1d(np.arange(n), held)
    order = rest[stratified_order(labels[rest])]
    return Split(order[:train], held, np.zeros(0, np.int64))


def kfold_split(n: int, fold: int) -> Split:
    """The node split of ForwardGNN (ICLR 2024; its published rule): 64 / 16 / 20 %, ids sorted.

    Test is fold `fold` of a shuffled 5-fold division with seed 101; validation is 20 % of the rest,
    drawn with seed 127 * fold.

    >>> split = kfold_split(2995, 0)
    >>> [len(ids) for ids in split], split.test[:5].tolist()
    ([1916, 480, 599], [4, 6, 7, 9, 18])
    """
    if not 0 <= fold < 5:
        raise ValueError(f"fold={fold}, but there are folds 0 to 4")
    if n < 5:
        raise ValueError(f"n={n} nodes cannot be divided 64/16/20; at least 5 are needed")
    from sklearn.model_selection import KFold, train_test_split

    folds = list(KFold(n_splits=5, shuffle=True, random_state=101).split(np.arange(n)))
    rest, test = folds[fold]
    train, validation = train_test_split(rest, test_size=0.2, random_state=127 * fold)
    return Split(np.sort(train), np.sort(validation), np.sort(test))
