"""Texts as token numbers."""

from typing import NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData


class Corpus(NamedTuple):
    """A text in three parts that follow each other.

    Attributes:
        name: the text.
        train: int32 token numbers [N].
        validation: the same, of what follows.
        test: the same, of what follows that.
        vocabulary: what each number stands for.
        source: in words which file was read.
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
