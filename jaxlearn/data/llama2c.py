"""Checkpoints and tokenizers in the formats of llama2.c, and stories260K, which is in them.

A checkpoint is seven int32 (width, hidden, layers, heads, heads of keys, vocabulary, longest
sequence; a negative vocabulary says that the head is a matrix of its own), then float32. A
tokenizer is an int32, the longest piece, then for every token a float32 score, an int32 length and
so many bytes. Nothing in either is code.
"""

import math
import struct
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.source import DataFile, find

BEGIN = 1
"""The token before every text."""
_HOME = "https://huggingface.co/karpathy/tinyllamas"
_MODEL = DataFile(("stories260k/stories260K.bin", "stories260K.bin"), _HOME)
_PIECES = DataFile(("stories260k/tok512.bin", "tok512.bin"), _HOME)


class Llama2c(NamedTuple):
    """A checkpoint.

    Attributes:
        width, hidden, layers, heads, key_heads, vocabulary, longest: sizes of the model.
        arrays: `token`, `wq`, `wk`, `wv`, `wo`, `w1`, `w2`, `w3`, `attention_norm`, `ffn_norm`
            (of all layers, `[layers, outputs, inputs]`), `norm`, and `head` if it is not `token`.
    """

    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    longest: int
    arrays: dict[str, np.ndarray]


def read_llama2c(path: Path) -> Llama2c:
    """The sizes and arrays of a checkpoint.

    Raises `CorruptData` for sizes that cannot be, or a file that is not as long as they say.
    """
    with parsing(path.name):
        content = path.read_bytes()
        sizes = struct.unpack_from("<7i", content)
        width, hidden, layers, heads, key_heads, vocabulary, longest = sizes
        fits = min(width, hidden, layers, heads, key_heads, longest, abs(vocabulary)) >= 1
        if not fits or width % heads or heads % key_heads or max(map(abs, sizes)) > 1 << 20:
            raise CorruptData(f"{path.name} says it has the sizes {sizes}, no model")
        shapes = _shapes(sizes)
        said = 28 + 4 * sum(math.prod(shape) for shape in shapes.values())
        if len(content) != said:
            raise CorruptData(f"{path.name} has {len(content)} bytes, its sizes say {said}")
        arrays, place = {}, 28
        for name, shape in shapes.items():
            array = np.frombuffer(content, "<f4", math.prod(shape), place).reshape(shape)
            arrays[name], place = array, place + 4 * array.size
    unused = ("rotary_cos", "rotary_sin")  # what they hold follows from the sizes
    arrays = {name: array for name, array in arrays.items() if name not in unused}
    return Llama2c(width, hidden, layers, heads, key_heads, abs(vocabulary), longest, arrays)


def _shapes(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    width, hidden, layers, heads, key_heads, vocabulary, longest = sizes
    keys = width // heads * key_heads
    shapes: dict[str, tuple[int, ...]] = {
        "token": (abs(vocabulary), width),
        "attention_norm": (layers, width),
        "wq": (layers, width, width),
        "wk": (layers, keys, width),
        "wv": (layers, keys, width),
        "wo": (layers, width, width),
        "ffn_norm": (layers, width),
        "w1": (layers, hidden, width),
        "w2": (layers, width, hidden),
        "w3": (layers, hidden, width),
        "norm": (width,),
        "rotary_cos": (longest, width // heads // 2),
        "rotary_sin": (longest, width // heads // 2),
    }
    return shapes | ({"head": (-vocabulary, width)} if vocabulary < 0 else {})


class Pieces(NamedTuple):
    """A tokenizer: what every token spells, and which pairs are joined first.

    Attributes:
        texts: bytes of each token.
        scores: the pair whose joined token has the largest score is joined first.
    """

    texts: list[bytes]
    scores: list[float]

    def encode(self, text: str, *, begin: bool = True) -> list[int]:
        """The tokens of a text, after the token that begins one.

        A space is put before the text; characters become tokens, or their bytes where there is no
        such token; then the pair with the best score is joined until none is left.
        """
        number = {piece: i for i, piece in reversed([*enumerate(self.texts)])}
        tokens: list[int] = []
        for character in f" {text}" if text else "":
            raw = character.encode()
            # bytes as such are the tokens 3 to 258
            tokens += [number[raw]] if raw in number else [byte + 3 for byte in raw]
        while True:
            joined = [
                (self.scores[number[both]], -i, number[both])
                for i, pair in enumerate(pairwise(tokens))
                if (both := self.texts[pair[0]] + self.texts[pair[1]]) in number
            ]
            if not joined:
                return [BEGIN, *tokens] if begin else tokens
            _, place, token = max(joined)
            tokens[-place : 2 - place] = [token]

    def decode(self, tokens: list[int]) -> str:
        """What tokens spell, without the space before the first."""
        parts = [_spelt(self.texts[token]) for token in tokens if token > 2]
        return b"".join(parts).decode(errors="replace").removeprefix(" ")


def _spelt(piece: bytes) -> bytes:
    """A piece such as `<0x0A>` stands for one byte."""
    raw = len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">")
    return bytes([int(piece[3:5], 16)]) if raw else piece


def read_pieces(path: Path, vocabulary: int) -> Pieces:
    """The pieces of a tokenizer file.

    Raises `CorruptData` when it does not hold exactly so many.
    """
    with parsing(path.name):
        content, place = path.read_bytes(), 4
        texts, scores = [], []
        for _ in range(vocabulary):
            score, length = struct.unpack_from("<fi", content, place)
            place += 8
            if not 0 <= length <= len(content) - place:
                raise CorruptData(f"{path.name} has a piece of {length} bytes")
            texts.append(content[place : place + length])
            scores.append(score)
            place += length
        if place != len(content):
            raise CorruptData(f"{path.name} holds more than {vocabulary} pieces")
    return Pieces(texts, scores)


def stories260k() -> tuple[Llama2c, Pieces]:
    """A Llama of 260,032 weights that writes stories for small children, and its tokenizer.

    Trained on TinyStories (Eldan and Li, 2023) by A. Karpathy.

    Raises:
        MissingData: when the two files are not in the data folder.
    """
    model = read_llama2c(find(_MODEL))
    return model, read_pieces(find(_PIECES), model.vocabulary)
