"""The IDX format of MNIST: big-endian header (type, rank, sizes), then the numbers."""

import gzip
import io
import math
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_LIMIT = 1 << 30


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """Bytes 0, 0, type, rank; rank sizes as uint32; then exactly as many numbers.

    Raises `CorruptData` unless every byte is accounted for.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), "two").tolist()
    [7, 9]
    """
    with parsing(name):
        if data[:2] != b"\0\0" or data[2] not in _TYPES:
            raise CorruptData(f"{name} does not begin like an IDX file but with {data[:4]!r}")
        dtype, rank = np.dtype(_TYPES[data[2]]), data[3]
        shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, 4))
        expected, found = math.prod(shape) * dtype.itemsize, len(data) - 4 - 4 * rank
        if expected != found:
            raise CorruptData(f"{name} says {shape}, {expected} bytes, but has {found}")
        array = np.frombuffer(data, dtype, offset=4 + 4 * rank).reshape(shape)
        return array.astype(dtype.newbyteorder("="))


def gunzip(data: bytes, name: str, limit: int = _LIMIT) -> bytes:
    """Decompressed bytes if they are gzip, else the bytes; `CorruptData` beyond `limit` bytes."""
    if data[:2] != b"\x1f\x8b":
        return data
    with parsing(name):
        content = gzip.GzipFile(fileobj=io.BytesIO(data)).read(limit + 1)
    if len(content) > limit:
        raise CorruptData(f"{name} grows beyond {limit} bytes when decompressed")
    return content


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, gzip or plain."""
    with parsing(path.name):
        data = path.read_bytes()
    return parse_idx(gunzip(data, path.name), path.name)
