"""Addition and multiplication of random binary numbers, made on demand."""

from collections.abc import Callable

import numpy as np

from jaxlearn.data.batches import Batch, Batches

PAD, ZERO, ONE, TIMES, PLUS = range(5)
SYMBOLS = 5
"""Inputs are padding, the two digits and the two operators; answers are the first three."""
OUTPUTS = 3


def arithmetic(
    operation: str, digits: int | Callable[[int], int], batch_size: int, *, length: int, seed: int
) -> Batches:
    """Batches of exercises such as `1101*011` with their results, digits lowest first.

    An exercise of k digits has two uniform k-bit numbers with the operator between them, padded to
    `length`. Its labels are the `2 k` digits of the product (or `k + 1` of the sum) in the first
    places, then padding. Kaiser & Sutskever, ICLR 2016 have this layout.

    Args:
        operation: `"*"` or `"+"`.
        digits: k, or a curriculum from the step to k.
        batch_size: exercises per batch.
        length: places of inputs and labels, `2 k + 1` at least.
        seed: with the step, of the numbers.

    Raises:
        ValueError: for another operation, or where k does not fit.

    Example:
        >>> batch = arithmetic("*", 2, 1, length=6, seed=0)(0)
        >>> batch["inputs"].shape, int(batch["inputs"][0, 2]) == TIMES
        ((1, 6), True)
    """
    if operation not in ("*", "+"):
        raise ValueError(f"unknown operation {operation!r}, expected '*' or '+'")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, found {batch_size}")
    at = digits if callable(digits) else lambda step: digits
    return Batches(
        lambda step: _exercises(operation, at(step), batch_size, length, (seed, step)),
        batch_size,
        1,
    )


def solve(operation: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The result of two rows of bits, lowest first: `[B, k]` and `[B, k]` to `[B, 2k or k + 1]`.

    >>> solve("*", np.array([[1, 1]]), np.array([[1, 1]])).tolist()  # 3 * 3 = 9
    [[1, 0, 0, 1]]
    """
    k = a.shape[1]
    sums = np.zeros((len(a), 2 * k if operation == "*" else k + 1), np.int64)
    if operation == "*":
        for place in range(k):
            sums[:, place : place + k] += a[:, place : place + 1] * b
    else:
        sums[:, :k] = a + b
    for place in range(sums.shape[1] - 1):
        sums[:, place + 1] += sums[:, place] // 2
    return sums % 2


def wrong(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The shares of answers with a mistake anywhere, and of wrong digits, in percent.

    Padding has to be named too for an answer to be right; `digits` counts the places with a digit.
    """
    missed = np.asarray(logits).argmax(-1) != labels
    return {
        "sequences": 100 * float(missed.any(1).mean()),
        "digits": 100 * float(missed[labels != PAD].mean()),
    }


def _exercises(operation: str, k: int, size: int, length: int, key: tuple[int, int]) -> Batch:
    if k < 1 or 2 * k + 1 > length:
        raise ValueError(f"numbers of {k} digits need 2 k + 1 places, but length={length}")
    words = np.random.Philox(np.random.SeedSequence(key)).random_raw(2 * size * k)
    a, b = (words >> np.uint64(63)).astype(np.int64).reshape(2, size, k)
    operator = np.full((size, 1), (TIMES if operation == "*" else PLUS) - 1)
    fit = lambda bits: np.pad(bits + 1, ((0, 0), (0, length - bits.shape[1]))).astype(np.int32)
    return {
        "inputs": fit(np.concatenate([a, operator, b], 1)),
        "labels": fit(solve(operation, a, b)),
    }
