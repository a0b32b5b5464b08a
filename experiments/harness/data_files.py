"""The data files behind the runs of an experiment: noted once, and the same ever after."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from experiments.harness import store
from jaxlearn.data import source
from jaxlearn.data.errors import parsing


@contextmanager
def unchanged(home: Path) -> Iterator[None]:
    """Note the data files that are read within the block, and refuse one that has changed.

    `home/data.json` holds the SHA-256 of each by name: of what is in it, however it is packed, and
    of names and sizes for a folder.

    Raises ValueError naming the file when it is not what runs in this folder were trained on.
    """
    file = home / "data.json"

    def see(name: str, path: Path) -> None:
        noted, found = store.read(file) if file.exists() else {}, _content(path, _state(path))
        if name not in noted:
            store.write(file, store.dump(dict(sorted((noted | {name: found}).items()))))
        elif noted[name] != found:
            raise ValueError(
                f"data file {name} is not the one that the runs in {home} were trained on "
                f"(SHA-256 {noted[name][:8]}… then, {found[:8]}… now); bring it back or choose "
                "another workdir"
            )

    with source.watched(see):
        yield


def _state(path: Path) -> tuple[int, int]:
    """Size and time of change, which tell whether a file has to be read again."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _content(path: Path, state: tuple[int, int]) -> str:
    if not path.is_dir():
        with parsing(path.name):
            return source.digest(path, gunzipped=True)
    files = (file for file in path.rglob("*") if file.is_file())
    sizes = sorted((str(file.relative_to(path)), file.stat().st_size) for file in files)
    return hashlib.sha256(repr(sizes).encode()).hexdigest()
