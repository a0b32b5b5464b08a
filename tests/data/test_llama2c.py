"""Files of llama2.c, written here by the format and read back."""

import struct

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData
from jaxlearn.data.llama2c import Pieces, read_llama2c, read_pieces, stories260k

SIZES = (4, 6, 2, 2, 1, 5, 3)  # width, hidden, layers, heads, key heads, vocabulary, longest
COUNTS = (20, 8, 32, 16, 16, 32, 8, 48, 48, 48, 4, 3, 3)


def checkpoint(sizes=SIZES, extra=0):
    count = sum(COUNTS) + extra
    return struct.pack("<7i", *sizes) + np.arange(count, dtype="<f4").tobytes()


def test_arrays_lie_in_the_order_of_the_format(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(checkpoint())
    read = read_llama2c(path)
    assert read[:7] == SIZES
    starts = np.cumsum((0, *COUNTS))
    names = (
        "token",
        "attention_norm",
        "wq",
        "wk",
        "wv",
        "wo",
        "ffn_norm",
        "w1",
        "w2",
        "w3",
        "norm",
    )
    for name, start in zip(names, starts, strict=False):
        assert read.arrays[name].flat[0] == start, name
    assert read.arrays["wk"].shape == (2, 2, 4)
    assert read.arrays["w2"].shape == (2, 4, 6)
    assert {*read.arrays} == {*names}


def test_a_negative_vocabulary_means_a_head_of_its_own(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(checkpoint((*SIZES[:5], -5, 3), extra=20))
    read = read_llama2c(path)
    assert read.vocabulary == 5
    assert read.arrays["head"].shape == (5, 4)
    assert read.arrays["head"].flat[0] == sum(COUNTS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (checkpoint()[:-4], "bytes, its sizes say"),
        (checkpoint() + b"more", "bytes, its sizes say"),
        (checkpoint((4, 6, 2, 3, 1, 5, 3)), "no model"),
        (checkpoint((0, 6, 2, 2, 1, 5, 3)), "no model"),
        (checkpoint((2**30, 6, 2, 2, 1, 5, 3)), "no model"),
        (b"short", "damaged"),
    ],
)
def test_other_files_are_refused(tmp_path, content, said):
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(CorruptData, match=said):
        read_llama2c(path)


def tokenizer(texts, scores):
    parts = [struct.pack("<fi", s, len(t)) + t for t, s in zip(texts, scores, strict=True)]
    return struct.pack("<i", max(map(len, texts))) + b"".join(parts)


def test_pieces_come_back_and_other_files_are_refused(tmp_path):
    path = tmp_path / "tok.bin"
    path.write_bytes(tokenizer([b"<unk>", b"ab", b""], [0.0, -1.5, 2.0]))
    assert read_pieces(path, 3) == Pieces([b"<unk>", b"ab", b""], [0.0, -1.5, 2.0])
    with pytest.raises(CorruptData, match="more than 2 pieces"):
        read_pieces(path, 2)
    with pytest.raises(CorruptData, match="damaged"):
        read_pieces(path, 4)


def test_the_best_pair_is_joined_first_and_the_first_of_equals():
    raw = [f"<0x{byte:02X}>".encode() for byte in range(256)]
    texts = [b"<unk>", b"<s>", b"</s>", *raw, b" ", b"a", b"b", b"ab", b"ba", b"bab", b"aa"]
    scores = [0.0] * 262 + [1.0, 2.0, 5.0, 1.5]
    pieces = Pieces(texts, scores)
    spelt = lambda text: [texts[token] for token in pieces.encode(text, begin=False)]
    # "ba" at score 2 before "ab" at 1: a|ba|b, and then a|bab
    assert spelt("abab") == [b" ", b"a", b"bab"]
    assert spelt("ab") == [b" ", b"ab"]
    assert spelt("aaa") == [b" ", b"aa", b"a"]
    assert pieces.encode("a") == [1, 259, 260]
    assert pieces.encode("") == [1]


@pytest.mark.parametrize("text", ["Once upon a time", "a  b\nc", "é€😀", ""])
def test_texts_come_back(text):
    try:
        _, pieces = stories260k()
    except MissingData as absent:
        pytest.skip(str(absent))
    assert pieces.decode(pieces.encode(text)) == text
