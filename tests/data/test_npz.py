"""npz files that are not what they should be."""

import io
import zipfile

import numpy as np
import pytest

from jaxlearn.data import CorruptData
from jaxlearn.data.npz import parse_npy, read_npz
from tests.data.conftest import put


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def zipped(**entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array(["ab", "c"]),
        np.array(5, np.int16),
        np.zeros((0, 3)),
        np.arange(3, dtype=">i4"),
    ],
)
def test_arrays_come_back(tmp_path, array):
    read = read_npz(put(tmp_path, "a.npz", npz(a=array, b=array)), ["a"])
    assert list(read) == ["a"]
    assert read["a"].dtype == array.dtype
    assert np.array_equal(read["a"], array)


def test_pickled_objects_are_refused_and_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (put, (tmp_path, "exploded", b""))

    data = npz(a=np.array([Bomb()], object), b=np.arange(2))
    path = put(tmp_path, "a.npz", data)
    with pytest.raises(CorruptData, match="Python objects"):
        read_npz(path, ["a"])
    assert read_npz(path, ["b"])["b"].tolist() == [0, 1]
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["../evil.npy", "/evil.npy", "a/../../evil.npy", "..\\evil.npy"])
def test_entries_that_climb_out_are_refused(tmp_path, name):
    path = put(
        tmp_path, "inner/a.npz", zipped(**{name: npy(np.arange(2)), "a.npy": npy(np.arange(2))})
    )
    with pytest.raises(CorruptData, match="outside"):
        read_npz(path, ["a"])
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.npz"]


def test_missing_array_and_other_files(tmp_path):
    with pytest.raises(CorruptData, match="no array 'b'"):
        read_npz(put(tmp_path, "a.npz", npz(a=np.arange(2))), ["b"])
    for data in (b"", b"<html>", npz(a=np.arange(2))[:-10]):
        with pytest.raises(CorruptData, match=r"a\.npz"):
            read_npz(put(tmp_path, "a.npz", data), ["a"])


def test_a_header_that_promises_more_than_there_is_takes_no_memory():
    data = npy(np.zeros(4)).replace(b"(4,)", b"(9999999999999,)".ljust(4))
    with pytest.raises(CorruptData):
        parse_npy(data, "a")
    honest = npy(np.zeros(1000))
    with pytest.raises(CorruptData, match="but has"):
        parse_npy(honest[:-8], "a")


def test_an_array_over_the_limit_is_refused(tmp_path):
    path = put(tmp_path, "a.npz", npz(a=np.zeros(10_000)))
    with pytest.raises(CorruptData, match="over 1000"):
        read_npz(path, ["a"], limit=1000)
