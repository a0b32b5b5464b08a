"""Counting as a language model: what a network has to beat."""

import numpy as np


def ngram_bits(train: np.ndarray, test: np.ndarray, n: int, vocabulary: int) -> float:
    """Bits per token of a test text under counted n-grams of the training text, n = 1 or 2.

    `p(c | before) = (count(before, c) + 1) / (count(before, any) + vocabulary)`.

    >>> round(ngram_bits(np.array([0, 1, 0, 1]), np.array([0, 1]), 1, 2), 6)
    1.0
    """
    if n not in (1, 2):
        raise ValueError(f"n={n}; n-grams of 1 and 2 tokens are counted")
    if n == 1:
        counts = np.bincount(train, minlength=vocabulary) + 1.0
        return float(-np.log2(counts / counts.sum())[test].mean())
    table = np.ones((vocabulary, vocabulary))
    np.add.at(table, (train[:-1], train[1:]), 1)
    bits = -np.log2(table / table.sum(1, keepdims=True))
    return float(bits[test[:-1], test[1:]].mean())
