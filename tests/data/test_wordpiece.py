"""BERT's tokens on cases whose pieces are known."""

import numpy as np
import pytest

from jaxlearn.data.errors import CorruptData
from jaxlearn.data.wordpiece import encode, pieces, read_vocabulary, words

LINES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "play", "##ing", "##s", "a", ".", "##a"]
KNOWN = {piece: number for number, piece in enumerate(LINES)}


def test_words_are_lower_case_without_accents_and_cut_at_punctuation():
    assert words("Héllo,\tWORLD!") == ["hello", ",", "world", "!"]
    assert words("$5 a+b") == ["$", "5", "a", "+", "b"]
    assert words("中文\x00 x") == ["中", "文", "x"]
    assert words("") == []


def test_the_longest_piece_comes_first_and_unknown_ends_unmake_the_word():
    assert pieces("playing", KNOWN) == ["play", "##ing"]
    assert pieces("plays", KNOWN) == ["play", "##s"]
    assert pieces("playz", KNOWN) == ["[UNK]"]
    assert pieces("a" * 101, KNOWN) == ["[UNK]"]


def test_rows_begin_end_are_cut_and_filled():
    found = encode(["A play.", "playing plays a a"], KNOWN, 6)
    assert found.tolist() == [[2, 7, 4, 8, 3, 0], [2, 4, 5, 4, 6, 3]]
    assert found.dtype == np.int32
    assert encode([], KNOWN, 4).shape == (0, 4)
    with pytest.raises(ValueError, match="at least 3 tokens"):
        encode(["a"], KNOWN, 2)


def test_a_vocabulary_has_its_special_pieces(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(LINES))
    assert read_vocabulary(path) == KNOWN
    path.write_text("play\n")
    with pytest.raises(CorruptData, match=r"no line '\[PAD\]'"):
        read_vocabulary(path)
