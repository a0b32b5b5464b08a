"""Where dataset files are looked for, in this order, and what is said when they are nowhere.

1. the folder named by the variable `JAXLEARN_DATA`;
2. places where the operating system puts data (Debian's `/usr/share/datasets`);
3. the user's cache (`JAXLEARN_CACHE`, else the platform's cache folder);
4. a download into that cache, kept only if its SHA-256 is right.

Files of 1 and 2 may be packed differently from the download: the readers validate what is inside
them instead of their hash.
"""

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from jaxlearn.data.download import download
from jaxlearn.data.errors import CorruptData, MissingData, parsing


class DataFile(NamedTuple):
    """One file of a dataset.

    Attributes:
        paths: places relative to `JAXLEARN_DATA`, tried in order; the first is also its cache
            place.
        homepage: public page of the dataset, for messages.
        urls: mirrors, tried in order (none: the file has to be put in place by hand).
        sha256: digest of the download; required with `urls`.
        gunzipped: the digest is of the decompressed content, because gzip bytes differ by packer.
        system: absolute paths outside `JAXLEARN_DATA`.
    """

    paths: tuple[str, ...]
    homepage: str
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    gunzipped: bool = False
    system: tuple[str, ...] = ()


_see: ContextVar[Callable[[str, Path], None]] = ContextVar("see", default=lambda name, path: None)


@contextmanager
def watched(see: Callable[[str, Path], None]) -> Iterator[None]:
    """Within the block `see(name, path)` hears of every data file, or folder, before it is read.

    name: its place relative to `JAXLEARN_DATA`, however it is packed here. What `see` raises ends
        the reading.
    """
    token = _see.set(see)
    try:
        yield
    finally:
        _see.reset(token)


def cache_folder() -> Path:
    """`JAXLEARN_CACHE`, else the platform's cache folder for "jaxlearn" (not created here)."""
    if chosen := os.environ.get("JAXLEARN_CACHE"):
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("jaxlearn"))


def digest(path: Path, *, gunzipped: bool = False) -> str:
    """SHA-256 of a file, or of its decompressed content if it is gzip and `gunzipped`."""
    with open(path, "rb") as raw:
        packed = gunzipped and raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _has_digest(path: Path, file: DataFile) -> bool:
    """Whether the content is the published one; bytes that cannot be decompressed are not."""
    try:
        with parsing(path.name):
            return file.sha256 is None or digest(path, gunzipped=file.gunzipped) == file.sha256
    except CorruptData:
        return False


def local(file: DataFile) -> Path | None:
    """The file in `JAXLEARN_DATA`, a system place or (with the right hash) the cache, or None."""
    path = _found(file)
    if path is not None:
        _see.get()(file.paths[0], path)
    return path


def _found(file: DataFile) -> Path | None:
    root = os.environ.get("JAXLEARN_DATA")
    placed = [Path(root, path) for path in file.paths] if root else []
    for path in placed + [Path(path) for path in file.system]:
        if os.path.exists(path):  # unlike Path.exists, False where access is denied
            return path
    cached = cache_folder() / file.paths[0]
    return cached if cached.exists() and _has_digest(cached, file) else None


def find(file: DataFile) -> Path:
    """A local path of the file, downloading it if need be.

    Raises `MissingData` if it cannot be had, `CorruptData` if every copy had the wrong content.
    """
    if (path := local(file)) is not None:
        return path
    target = cache_folder() / file.paths[0]
    if not file.urls:
        raise MissingData(missing_line(file))
    if file.sha256 is None:
        raise ValueError(f"{file.paths[0]} has urls but no sha256; give the digest to check")
    reason = download(file.urls, target, lambda part: _has_digest(part, file))
    if reason is None:
        _see.get()(file.paths[0], target)
        return target
    if reason.corrupt:
        raise CorruptData(f"{file.paths[0]}: {reason.text}; get it from {file.homepage}")
    raise MissingData(f"{missing_line(file)} (download failed: {reason.text})")


def missing_line(file: DataFile) -> str:
    """The one line of a `MissingData`: the file, its source and the variable to set."""
    return (
        f"{file.paths[0]} is missing; get it from {file.homepage} and set JAXLEARN_DATA to the "
        f"folder that contains {file.paths[0]}"
    )
