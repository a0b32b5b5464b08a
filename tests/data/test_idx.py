"""IDX files made byte by byte."""

import gzip
import struct

import numpy as np
import pytest

from jaxlearn.data import CorruptData, load
from jaxlearn.data.idx import gunzip, parse_idx, read_idx
from tests.data.conftest import put


def idx(array, code=8):
    """IDX bytes of a uint8 array."""
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()
    )


@pytest.mark.parametrize(
    "code, dtype", [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_every_type_comes_back(code, dtype):
    array = np.arange(-6 if dtype != "u1" else 0, 6)[:6].astype(dtype).reshape(2, 3)
    read = parse_idx(idx(array, code), "file")
    assert np.array_equal(read, array)
    assert read.dtype.isnative


def test_gzip_or_not(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for data in (idx(array), gzip.compress(idx(array), mtime=0)):
        assert np.array_equal(read_idx(put(tmp_path, "a", data)), array)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0",
        b"<html>not found</html>",
        idx(np.zeros(3, np.uint8))[:-1],
        idx(np.zeros(3, np.uint8)) + b"\0",
        b"\0\0\x08\x02" + b"\xff" * 8,  # 2^64 numbers
        b"\0\0\x07\x01\0\0\0\0",
        gzip.compress(idx(np.zeros(100, np.uint8)), mtime=0)[:-9],
    ],
)
def test_damage_is_one_line(tmp_path, data):
    with pytest.raises(CorruptData, match=r"a\.gz") as caught:
        read_idx(put(tmp_path, "a.gz", data))
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused():
    with pytest.raises(CorruptData, match="grows beyond"):
        gunzip(gzip.compress(b"\0" * 10_000, mtime=0), "a", limit=1000)


def files(root, images, labels, folder="fashion-mnist"):
    for part in ("train", "t10k"):
        put(root, f"{folder}/{part}-images-idx3-ubyte.gz", gzip.compress(idx(images), mtime=0))
        put(root, f"{folder}/{part}-labels-idx1-ubyte", idx(labels))


@pytest.mark.parametrize("name, folder", [("fashion_mnist", "fashion-mnist"), ("mnist", "mnist")])
def test_reader_scales_and_adds_the_channel(root, name, folder):
    labels = np.repeat(np.arange(10, dtype=np.uint8), 3)
    images = np.broadcast_to(labels[:, None, None] * 25, (30, 28, 28)).astype(np.uint8)
    files(root, images, labels, folder)
    dataset = load(name, validation=10)
    assert dataset.train["inputs"].shape == (20, 28, 28, 1)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert np.allclose(part["inputs"][:, 5, 5, 0] * 255 / 25, part["labels"], atol=1e-5)
    assert load(name, as_float=False).test["inputs"].dtype == np.uint8


@pytest.mark.parametrize(
    "images, labels",
    [
        (np.zeros((4, 28, 28), np.uint8), np.zeros(5, np.uint8)),
        (np.zeros((4, 27, 28), np.uint8), np.zeros(4, np.uint8)),
        (np.zeros((4, 28, 28), np.uint8), np.full(4, 10, np.uint8)),
    ],
)
def test_files_that_do_not_belong_together(root, images, labels):
    files(root, images, labels)
    with pytest.raises(CorruptData, match="fashion-mnist"):
        load("fashion_mnist")
