"""Reading a safetensors file: a JSON header, then arrays as they lie in memory."""

import json
import math
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing

_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U8": "u1",
}
_LONGEST_HEADER = 1 << 24


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file by name.

    Nothing in such a file is code. bfloat16 comes as float32, which holds the same numbers. Raises
    `CorruptData` for a header that does not parse, a type other than floats and integers of usual
    sizes, or arrays that do not fit their place.
    """
    with parsing(path.name):
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        if not 2 <= size <= min(_LONGEST_HEADER, len(content) - 8):
            raise CorruptData(f"{path.name}: a header of {size} bytes in {len(content)}")
        header = json.loads(content[8 : 8 + size])
        body = memoryview(content)[8 + size :]
        arrays = {
            k: _array(body, v, f"{path.name}: {k}") for k, v in header.items() if k[:2] != "__"
        }
    return arrays


def _array(body: memoryview, entry: dict, where: str) -> np.ndarray:
    start, stop = entry["data_offsets"]
    shape = tuple(int(n) for n in entry["shape"])
    if entry["dtype"] not in _TYPES:
        raise CorruptData(f"{where} has type {entry['dtype']!r}, expected one of {[*_TYPES]}")
    dtype = np.dtype(_TYPES[entry["dtype"]])
    if min(shape, default=0) < 0 or stop - start != math.prod(shape) * dtype.itemsize:
        raise CorruptData(f"{where}: {stop - start} bytes for shape {shape} of {dtype}")
    if not 0 <= start <= stop <= len(body):
        raise CorruptData(f"{where} lies outside the file")
    found = np.frombuffer(body[start:stop], dtype).reshape(shape)
    # the upper half of a float32 is a bfloat16
    is_half = entry["dtype"] == "BF16"
    return (found.astype("<u4") << 16).view("<f4") if is_half else found
