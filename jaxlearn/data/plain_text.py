"""Character-level texts: tiny Shakespeare (Karpathy, 2015), enwik8 (Mahoney, 2006), any file."""

from pathlib import Path

import numpy as np

from jaxlearn.data.corpus import Corpus, characters
from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.text import read_text

_LIMIT = 1 << 31
_LARGEST = 1 << 22
_SHAKESPEARE = DataFile(
    paths=("tiny-shakespeare/input.txt.gz", "tiny-shakespeare/input.txt"),
    homepage="https://github.com/karpathy/char-rnn",
    urls=(
        "https://raw.githubusercontent.com/karpathy/char-rnn/"
        "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
    ),
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    gunzipped=True,
)
_ENWIK8 = DataFile(
    paths=("enwik8/enwik8.gz", "enwik8/enwik8", "enwik8"),
    homepage="https://mattmahoney.net/dc/textdata.html",
)


def tiny_shakespeare(*, train: int | None = None) -> Corpus:
    """1,115,394 characters of plays, 65 different ones, in parts of 90, 5 and 5 %."""
    text = read_text(find(_SHAKESPEARE))
    return characters("tiny_shakespeare", text, "the text file", train=train)


def enwik8(*, train: int | None = None) -> Corpus:
    """The first 10^8 bytes of the English Wikipedia of 2006 as characters, 90, 5 and 5 %.

    Figures count bits per character, as SpikeGPT's do, not per byte.
    """
    text = read_text(find(_ENWIK8), _LIMIT)
    return characters("enwik8", text, "the text file, as characters", train=train)


def text_file(path: str, *, train: int | None = None) -> Corpus:
    """A UTF-8 file of yours, packed by gzip or not, in parts of 90, 5 and 5 %.

    Raises:
        MissingData: when there is no such file.
        CorruptData: when it is no text, or too short.
    """
    if not Path(path).is_file():
        raise MissingData(f"{path} is no file; name a text file")
    return characters(Path(path).name, read_text(Path(path), _LIMIT), path, train=train)


def token_file(path: str, *, train: int | None = None) -> Corpus:
    """Token numbers of a tokenizer of yours, a NumPy file of integers [N], 90, 5 and 5 %.

    The vocabulary names the numbers, up to the largest one.

    Raises:
        MissingData: when there is no such file.
        CorruptData: when it holds anything but integers in one dimension, from 0 to below 2^22.
    """
    if not Path(path).is_file():
        raise MissingData(f"{path} is no file; name a .npy file of token numbers")
    with parsing(Path(path).name):
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    whole = tokens.ndim == 1 and np.issubdtype(tokens.dtype, np.integer) and len(tokens) >= 20
    if not whole or tokens.min() < 0:
        raise CorruptData(f"{path}: {tokens.dtype}{tokens.shape}; expected integers >= 0, [N]")
    if tokens.max() >= _LARGEST:
        raise CorruptData(f"{path} has a token {tokens.max()}; expected numbers below {_LARGEST}")
    first, second = int(0.9 * len(tokens)), int(0.95 * len(tokens))
    if train is not None and not 0 < train <= first:
        raise ValueError(f"train={train} tokens asked for, {first} are there")
    parts = tokens[:first][:train], tokens[first:second], tokens[second:]
    names = tuple(f"<{number}>" for number in range(int(tokens.max()) + 1))
    return Corpus(Path(path).name, *parts, names, "token numbers")
