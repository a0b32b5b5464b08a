"""Pickles are read, never run."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest
import scipy.sparse as sp

from jaxlearn.data import CorruptData
from jaxlearn.data.array_pickle import read_array_pickle

ARRAYS = [
    np.arange(6, dtype=np.int32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([True, False]),
    np.zeros((0, 4), np.float32),
    np.arange(3, dtype=">f8"),
    np.array(7, np.uint8),
]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_come_back_as_pickle_gives_them(array, protocol):
    read = read_array_pickle(pickle.dumps(array, protocol), "a")
    assert np.array_equal(read, array)
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.shape == array.shape


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_sparse_matrices_come_back(protocol):
    matrix = sp.csr_matrix(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]], np.float32))
    read = read_array_pickle(pickle.dumps(matrix, protocol), "a")
    assert np.array_equal(read.toarray(), matrix.toarray())
    assert read.dtype == np.float32


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_containers_come_back(protocol):
    graph = collections.defaultdict(list, {0: [1, 300, 70_000], 1: [0], 2: []})
    shared = [1, -2, 2**40]
    value = {"graph": graph, "a": (1, (2, 3), None), "b": [shared, shared, True, 0.5], 7: "text"}
    assert read_array_pickle(pickle.dumps(value, protocol), "a") == value


def test_python_2_arrays_with_byte_strings():
    # what Python 2 wrote for numpy.array([1, 256], "<i2"): its str type, undecoded
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85U\x01b"
        b"\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x00\x00\x01tb."
    )
    read = read_array_pickle(data, "a")
    assert read.tolist() == [1, 256]
    assert read.dtype == np.int16


class Reduce:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_call_into_the_system_is_refused_and_not_made(tmp_path, protocol):
    mark = tmp_path / "was run"
    data = pickle.dumps({"x": Reduce(os.system, f"touch '{mark}'")}, protocol)
    with pytest.raises(CorruptData, match="refused") as caught:
        read_array_pickle(data, "a")
    assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value, words",
    [
        (Reduce(eval, "1"), "eval"),
        (Reduce(getattr, "a", "b"), "getattr"),
        (Reduce(np.load, "x"), "load"),
        (Reduce(collections.defaultdict, int), "int"),
        (Reduce(np.dtype, "O"), "not of numbers"),
        (np.array([{}], object), "O8"),
        (np.array(["text"]), "U4"),
        (np.zeros(2, [("a", int)]), "not of numbers"),
        (np.ndarray, "instead of data"),
        (np.dtype("f4"), "never given"),
        ({1, 2}, "EMPTY_SET"),
        ({(1, 2): 3}, "keys"),
        (2**5000, "LONG4"),
        (1j, "complex"),
    ],
)
def test_everything_else_is_refused_by_name(value, words):
    with pytest.raises(CorruptData, match=words):
        read_array_pickle(pickle.dumps(value, 4), "a")


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"(.",
        b"\x80\x02",
        b"}K\x01K\x02",
        b"K\x01a.",  # append to nothing
        b"]a.",
        b"(K\x01K\x02u.",
        b"h\x05.",  # a memo that was never set
        b"q\x00.",
        b"(q\x00h\x00.",  # a mark remembered as a value
        b"K\x01)R.",  # call of a number
        b"K\x01)\x81.",
        b"K\x01K\x02b.",  # fill a number
        b"cnumpy\nndarray\n)R.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R.",
        b"]q\x00h\x00a.",  # a list within itself
        b"K\x01K\x02.",
        b"<html>",
    ],
)
def test_broken_programs_are_corrupt_data(program):
    with pytest.raises(CorruptData):
        read_array_pickle(program, "a")


def test_an_array_that_promises_more_than_its_bytes():
    data = pickle.dumps(np.zeros(3, np.uint8), 2)
    assert data.count(b"K\x03\x85") == 1
    data = data.replace(b"K\x03\x85", b"J" + struct.pack("<i", 2**31 - 1) + b"\x85")
    with pytest.raises(CorruptData, match="3 bytes"):
        read_array_pickle(data, "a")


@pytest.mark.parametrize("innermost", [b"]", b")"])
def test_values_that_contain_each_other_many_times_are_walked_once(innermost):
    level = b"q\x00" + b"h\x00" * 49 + b"t"  # a tuple of 50 times what is on top
    data = b"\x80\x02" + b"(" * 15 + innermost + level * 15 + b"."
    read_array_pickle(data, "a")
    with pytest.raises(CorruptData, match="a tuple"):  # and named without being printed
        read_array_pickle(data[:-1] + b")R.", "a")
