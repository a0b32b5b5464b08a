"""Windows of a text as examples of a language model."""

import numpy as np

from jaxlearn.data.batches import Batches
from jaxlearn.data.dataset import Arrays


def random_windows(tokens: np.ndarray, length: int, batch_size: int, *, seed: int) -> Batches:
    """Batches of windows that begin anywhere, deterministic by (seed, step).

    "inputs" int32 [batch_size, length], "labels" the same one token later, "index" where each
    begins. An epoch is as many tokens as the text has.

    >>> batch = random_windows(np.arange(9), 3, 2, seed=0)(5)
    >>> bool((batch["labels"] == batch["inputs"] + 1).all()), batch["inputs"].shape
    (True, (2, 3))
    """
    places = len(tokens) - length
    if length < 1 or batch_size < 1 or places < 1:
        raise ValueError(
            f"length={length}, batch_size={batch_size} with {len(tokens)} tokens; windows need "
            "length >= 1 and one token more than their length"
        )

    def at(step: int) -> Arrays:
        words = np.random.Philox(np.random.SeedSequence((seed, step))).random_raw(batch_size)
        begins = (words % np.uint64(places)).astype(np.int64)
        cut = tokens[begins[:, None] + np.arange(length + 1)].astype(np.int32)
        return {"inputs": cut[:, :-1], "labels": cut[:, 1:], "index": begins.astype(np.int32)}

    return Batches(at, batch_size, max(1, places // (batch_size * length)))


def windows(tokens: np.ndarray, length: int) -> Arrays:
    """The text cut into windows that follow each other, for evaluation; the rest is left out.

    "inputs" int32 [N, length] and "labels" the same one token later.

    >>> {name: part.tolist() for name, part in windows(np.arange(8), 3).items()}
    {'inputs': [[0, 1, 2], [3, 4, 5]], 'labels': [[1, 2, 3], [4, 5, 6]]}
    """
    count = (len(tokens) - 1) // length
    if count < 1:
        raise ValueError(f"{len(tokens)} tokens hold no window of {length} and the token after it")
    cut = lambda start: tokens[start : start + count * length].reshape(count, length)
    return {"inputs": cut(0).astype(np.int32), "labels": cut(1).astype(np.int32)}
