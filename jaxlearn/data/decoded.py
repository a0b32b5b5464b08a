"""A cache for arrays that are slow to decode, checked each time it is read."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData
from jaxlearn.data.npz import parse_npy
from jaxlearn.data.source import cache_folder, digest


def decoded(file: Path, decode: Callable[[Path], np.ndarray]) -> np.ndarray:
    """`decode(file)`, remembered in the user's cache under the SHA-256 of the file.

    Beside the array stands its own SHA-256; a damaged or half written entry is decoded anew. When
    the cache cannot be written the result is simply not remembered.
    """
    entry = cache_folder() / "decoded" / f"{digest(file)}.npy"
    stamp = entry.with_suffix(".sha256")
    try:
        if stamp.read_text().strip() == digest(entry):
            return parse_npy(entry.read_bytes(), entry.name)
    except (OSError, CorruptData):
        pass  # not there yet, or not readable: the original file decides
    array = decode(file)
    with suppress(OSError):  # a cache that cannot be written costs time only
        _remember(entry, stamp, array)
    return array


def _remember(entry: Path, stamp: Path, array: np.ndarray) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = entry.with_name(f".{entry.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as stream:
            np.save(stream, array, allow_pickle=False)
        stamp.write_text(digest(part))
        os.replace(part, entry)
    finally:
        part.unlink(missing_ok=True)
