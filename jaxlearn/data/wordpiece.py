"""BERT's uncased tokens: words and punctuation, then the longest pieces that are known."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing

PAD, UNKNOWN, BEGIN, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_LONGEST_WORD = 100


def read_vocabulary(path: Path) -> dict[str, int]:
    """Numbers by piece, from a file with one piece a line."""
    with parsing(path.name):
        pieces = path.read_text(encoding="utf-8").splitlines()
    known = {piece: number for number, piece in enumerate(pieces)}
    if missing := [piece for piece in (PAD, UNKNOWN, BEGIN, END) if piece not in known]:
        raise CorruptData(f"{path.name} has no line {missing[0]!r}; it is no BERT vocabulary")
    return known


def words(text: str) -> list[str]:
    """Lower case without accents, cut at white space and around every punctuation mark.

    >>> words("Isn't it naïve?")
    ['isn', "'", 't', 'it', 'naive', '?']
    """
    plain = unicodedata.normalize("NFD", text.lower())
    spaced = [_spaced(letter) for letter in plain if unicodedata.category(letter) != "Mn"]
    return "".join(spaced).split()


def _spaced(letter: str) -> str:
    code, kind = ord(letter), unicodedata.category(letter)
    chinese = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF
    ascii_mark = code < 128 and not letter.isalnum() and letter.isprintable() and letter != " "
    if kind.startswith("C") and letter not in "\t\n\r":
        return ""
    return f" {letter} " if kind.startswith("P") or ascii_mark or chinese else letter


def pieces(word: str, vocabulary: Mapping[str, int]) -> list[str]:
    """The word as its longest known beginning and what follows, marked by `##`.

    >>> pieces("unaffable", {"un": 0, "##aff": 1, "##able": 2})
    ['un', '##aff', '##able']
    >>> pieces("xyz", {"x": 0})
    ['[UNK]']
    """
    if len(word) > _LONGEST_WORD:
        return [UNKNOWN]
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = range(len(word), start, -1)
        stop = next((end for end in ends if mark + word[start:end] in vocabulary), None)
        if stop is None:
            return [UNKNOWN]
        found.append(mark + word[start:stop])
        start = stop
    return found


def encode(texts: Iterable[str], vocabulary: Mapping[str, int], length: int) -> np.ndarray:
    """int32 `[texts, length]`: [CLS], the pieces that fit, [SEP], then 0 to the end.

    >>> known = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "film": 5}
    >>> encode(["a film", "a new film"], known, 4).tolist()
    [[2, 4, 5, 3], [2, 4, 1, 3]]

    Raises `ValueError` when no piece would fit.
    """
    if length < 3:
        raise ValueError(f"length={length}; a text needs at least 3 tokens")
    rows = []
    for text in texts:
        found = [piece for word in words(text) for piece in pieces(word, vocabulary)]
        row = [vocabulary[piece] for piece in (BEGIN, *found[: length - 2], END)]
        rows.append(row + [vocabulary[PAD]] * (length - len(row)))
    return np.array(rows, np.int32).reshape(-1, length)
