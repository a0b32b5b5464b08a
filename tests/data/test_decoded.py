"""The cache of decoded arrays."""

import os

import numpy as np
import pytest

from jaxlearn.data.decoded import decoded
from jaxlearn.data.source import cache_folder
from tests.data.conftest import put


@pytest.fixture
def counted(root):
    """(decode, calls): the array is the file's bytes."""
    calls = []

    def decode(path):
        calls.append(path)
        return np.frombuffer(path.read_bytes(), np.uint8).copy()

    return decode, calls


def entries():
    return sorted((cache_folder() / "decoded").glob("*.npy"))


def test_decoded_once_per_content(root, counted):
    decode, calls = counted
    one, same, other = (
        put(root, name, data) for name, data in (("a", b"1"), ("b", b"1"), ("c", b"2"))
    )
    for path, value in ((one, 49), (same, 49), (other, 50), (one, 49)):
        assert decoded(path, decode).tolist() == [value]
    assert calls == [one, other]
    assert len(entries()) == 2


@pytest.mark.parametrize("damage", ["flip", "truncate", "no stamp", "wrong stamp", "remove"])
def test_a_damaged_entry_is_decoded_anew(root, counted, damage):
    decode, calls = counted
    path = put(root, "a", b"12345")
    decoded(path, decode)
    (entry,) = entries()
    stamp, data = entry.with_suffix(".sha256"), entry.read_bytes()
    if damage == "flip":
        entry.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "truncate":
        entry.write_bytes(data[:-2])
    elif damage == "wrong stamp":
        stamp.write_text("0" * 64)
    else:
        (entry if damage == "remove" else stamp).unlink()
    for _ in range(2):
        assert decoded(path, decode).tolist() == list(b"12345")
    assert len(calls) == 2


def test_an_unwritable_cache_costs_time_only(root, counted):
    decode, calls = counted
    path = put(root, "a", b"1")
    put(cache_folder().parent, cache_folder().name, b"a file where the folder should be")
    for _ in range(2):
        assert decoded(path, decode).tolist() == [49]
    assert len(calls) == 2
    assert os.path.isfile(cache_folder())
