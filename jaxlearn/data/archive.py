"""Members of a tar archive, read in memory: nothing is ever extracted to a path it names."""

import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jaxlearn.data.errors import CorruptData, parsing

_LIMIT = 1 << 29


def read_tar(path: Path, wanted: Callable[[str], bool], limit: int = _LIMIT) -> dict[str, bytes]:
    """name -> bytes of the regular files whose name is `wanted`, in the archive's order.

    Raises `CorruptData` for a damaged archive, for any member that climbs out of it ("../", "/x"),
    for a wanted member that is a link or device, and beyond `limit` bytes in all.
    """
    found: dict[str, bytes] = {}
    with parsing(path.name), tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
                raise CorruptData(f"{path.name} has a member outside itself: {member.name!r}")
            if member.isdir() or not wanted(member.name):
                continue
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is None:
                raise CorruptData(f"{path.name}: {member.name!r} is not a regular file")
            limit -= member.size
            if limit < 0:
                raise CorruptData(f"{path.name} is larger than any dataset read from a tar file")
            data = stream.read()
            if len(data) != member.size:
                raise CorruptData(f"{path.name} ends within {member.name!r}; replace the file")
            found[member.name] = data
    return found
