"""Reading named arrays out of an npz file without trusting it."""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing

_LIMIT = 1 << 30


def read_npz(path: Path, names: Iterable[str], limit: int = _LIMIT) -> dict[str, np.ndarray]:
    """The arrays `names` of an npz file; the others are not touched.

    Raises `CorruptData` for anything else than a zip of npy files: a missing array, an array of
    Python objects (which would need unpickling), an entry that climbs out of the archive ("../"), a
    header that does not fit its data, or more than `limit` bytes in one array.
    """
    with parsing(path.name), zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if entry.startswith("/") or ".." in PurePosixPath(entry.replace("\\", "/")).parts:
                raise CorruptData(f"{path.name} has an entry outside itself: {entry!r}")
        return {name: _read_array(archive, name, path.name, limit) for name in names}


def _read_array(archive: zipfile.ZipFile, name: str, where: str, limit: int) -> np.ndarray:
    if f"{name}.npy" not in archive.namelist():
        raise CorruptData(f"{where} has no array {name!r}")
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > limit:
        raise CorruptData(f"{where}: array {name!r} says {info.file_size} bytes, over {limit}")
    with archive.open(info) as stream:
        data = stream.read(limit + 1)
    return parse_npy(data, f"{where}: array {name!r}")


def parse_npy(data: bytes, name: str) -> np.ndarray:
    """The array of npy bytes, its header checked against the length before memory is taken."""
    with parsing(name):
        stream = io.BytesIO(data)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise CorruptData(f"{name} has npy version {version}; 1.0 or 2.0 can be read")
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = reader(stream)
        if dtype.hasobject or dtype.names or dtype.subdtype:
            raise CorruptData(f"{name} holds Python objects or records ({dtype}), not numbers")
        left = len(data) - stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != left:
            raise CorruptData(f"{name} says {shape} of {dtype}, but has {left} bytes")
        array = np.frombuffer(data, dtype, math.prod(shape), stream.tell())
        return array.reshape(shape, order="F" if fortran else "C").copy()
