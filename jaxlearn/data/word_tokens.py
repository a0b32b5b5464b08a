"""Sentences as word numbers of one length, for models that read words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxlearn.data.wordpiece import words

PAD, UNKNOWN = 0, 1


def word_vocabulary(sentences: Iterable[str], *, least: int = 1) -> dict[str, int]:
    """Numbers by word, from 2 on, the most frequent first; 0 is padding, 1 any other word.

    Take training sentences alone. Words are lower case without accents (`wordpiece.words`).

    Args:
        sentences: to count words in.
        least: words that occur more rarely are left out.

    >>> word_vocabulary(["a bad film", "A good film"], least=2)
    {'a': 2, 'film': 3}
    """
    counts = Counter(word for sentence in sentences for word in words(sentence))
    kept = [word for word, count in counts.items() if count >= least]
    ordered = sorted(kept, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate(ordered, start=2)}


def word_tokens(sentences: Sequence[str], vocabulary: Mapping[str, int], length: int) -> np.ndarray:
    """Word numbers int32 [N, length]: the first `length` words, then 0.

    A sentence without any word becomes one unknown word, so that every row has a token.

    >>> word_tokens(["a Film!", ""], {"a": 2, "film": 3}, 4).tolist()
    [[2, 3, 1, 0], [1, 0, 0, 0]]
    """
    if length < 1:
        raise ValueError(f"length={length}; it has to be at least 1")
    result = np.full((len(sentences), length), PAD, np.int32)
    for row, sentence in zip(result, sentences, strict=True):
        found = [vocabulary.get(word, UNKNOWN) for word in words(sentence)[:length]] or [UNKNOWN]
        row[: len(found)] = found
    return result
