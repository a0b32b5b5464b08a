"""Texts as token numbers, and windows of them as examples of a language model."""

from typing import NamedTuple

import numpy as np

from jaxlearn.data.batches import Batches
from jaxlearn.data.dataset import Arrays
from jaxlearn.data.errors import CorruptData


class Corpus(NamedTuple):
    """A text in three parts that follow each other.

    train, validation, test: int32 token numbers [N].
    vocabulary: what each number stands for.
    name, source: the text, and in words which file was read.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]
    source: str

    def text(self, tokens: np.ndarray) -> str:
        """What token numbers spell."""
        return "".join(self.vocabulary[int(token)] for token in np.asarray(tokens).ravel())


def characters(
    name: str,
    text: str,
    source: str,
    *,
    train: int | None = None,
    parts: tuple[float, float] = (0.9, 0.05),
) -> Corpus:
    """A text as characters: the vocabulary is every character in it, sorted.

    The first 90 % are for training, the next 5 for validation, the last 5 for testing.

    Args:
        name: of the text.
        text: all of it.
        source: what was read.
        train: keep so many characters of the training part; all by default.
        parts: shares of training and validation.

    Raises:
        CorruptData: when a part would be empty.
        ValueError: when more training text is asked for than there is.

    >>> corpus = characters("abc", "abracadabra" * 4, "this line")
    >>> len(corpus.train), corpus.vocabulary, corpus.text(corpus.train[:4])
    (39, ('a', 'b', 'c', 'd', 'r'), 'abra')
    """
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    known = np.flatnonzero(np.bincount(codes)) if len(codes) else np.array([], np.int64)
    tokens = np.searchsorted(known, codes).astype(np.int32)
    first = int(len(tokens) * parts[0])
    second = first + int(len(tokens) * parts[1])
    cut = np.split(tokens, [first, second])
    if not all(map(len, cut)):
        raise CorruptData(f"{name} has {len(tokens)} characters; too few for three parts")
    if train is not None and not 0 < train <= first:
        raise ValueError(f"train={train} characters asked for, {first} are there")
    return Corpus(name, cut[0][:train], cut[1], cut[2], tuple(map(chr, known)), source)


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
