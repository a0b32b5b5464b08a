"""Reading small text files, packed or not."""

import gzip
from pathlib import Path

from jaxlearn.data.errors import CorruptData, parsing

_LIMIT = 1 << 26


def read_text(path: Path, limit: int = _LIMIT, encoding: str = "utf-8") -> str:
    """The whole text of a file, unpacked if it is gzip.

    Raises `CorruptData` for bytes that are no text, a damaged gzip file, or over `limit` bytes.
    """
    with parsing(path.name), open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise CorruptData(f"{path.name} has more than {limit} bytes")
        return data.decode(encoding)
