"""Arrays out of a safetensors file, and what is refused."""

import json

import numpy as np
import pytest

from jaxlearn.data.errors import CorruptData, MissingData
from jaxlearn.data.minilm import minilm_vocabulary, minilm_weights
from jaxlearn.data.safetensors import read_safetensors


def write(path, entries, body):
    """A file of these header entries and bytes."""
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + body)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    """One line of a header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_arrays_come_back_as_they_were(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1, -2], np.int64)
    entries = {
        "__metadata__": {"format": "pt"},
        "a": entry(shape=(2, 3), offsets=(0, 24)),
        "b": entry("I64", offsets=(24, 40)),
    }
    found = read_safetensors(write(tmp_path / "x", entries, a.tobytes() + b.tobytes()))
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], a)
    np.testing.assert_array_equal(found["b"], b)


def test_bfloat16_is_read_as_the_single_precision_numbers_it_stands_for(tmp_path):
    """1, -2.5 and 2^-126 by hand: sign, eight bits of exponent, seven of fraction."""
    body = np.array([0x3F80, 0xC020, 0x0080], "<u2").tobytes()
    entries = {"a": entry("BF16", shape=(3, 1), offsets=(0, 6))}
    found = read_safetensors(write(tmp_path / "x", entries, body))["a"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1.0], [-2.5], [2.0**-126]])


@pytest.mark.parametrize(
    "wrong, words",
    [
        (entry("F8_E4M3"), "has type 'F8_E4M3'"),
        (entry(shape=(3,)), "8 bytes for shape"),
        (entry(offsets=(8, 16)), "outside the file"),
        (entry(shape=(-2,)), "bytes for shape"),
        ({"dtype": "F32"}, "is damaged"),
    ],
)
def test_entries_that_do_not_fit_are_refused(tmp_path, wrong, words):
    with pytest.raises(CorruptData, match=words):
        read_safetensors(write(tmp_path / "x", {"a": wrong}, bytes(8)))


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    (tmp_path / "x").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    with pytest.raises(CorruptData, match="a header of"):
        read_safetensors(tmp_path / "x")


def test_minilm_is_looked_for_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    monkeypatch.setenv("JAXLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxlearn.data.minilm.PACKAGE", "no_such_package")
    with pytest.raises(MissingData, match="install the package no-such-package"):
        minilm_weights()
    (tmp_path / "minilm").mkdir()
    (tmp_path / "minilm" / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n")
    assert minilm_vocabulary()["a"] == 4
    write(tmp_path / "minilm" / "model.safetensors", {"a": entry()}, bytes(8))
    with pytest.raises(CorruptData, match="no word embeddings"):
        minilm_weights()
