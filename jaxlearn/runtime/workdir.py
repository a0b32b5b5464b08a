"""The folder of one run: one owner at a time, one config for ever."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxlearn.runtime.files import replace_text


class WorkdirError(ValueError):
    """A workdir that is in use, belongs to another config, or cannot be written."""


@contextmanager
def locked(workdir: str | Path) -> Iterator[Path]:
    """Own the folder, creating it if needed, until the block ends or the process dies.

    The file `lock` names the owner. The operating system drops the lock of a process that dies, so
    that a killed run leaves nothing to clean up.

    Raises:
        WorkdirError: when another process owns it, naming its pid, or it cannot be created.
    """
    folder = Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(folder / "lock")
    except OSError as error:
        raise WorkdirError(f"{folder}: {error.strerror}; choose a workdir to write to") from error
    try:
        yield folder
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def bind(workdir: str | Path, config: Mapping[str, Any]) -> None:
    """Tie the folder to a config: stored as `config.json` the first time, compared ever after.

    Args:
        workdir: the folder, created if needed.
        config: anything JSON can say; tuples count as lists.

    Raises:
        WorkdirError: when the folder belongs to another config, naming a field that differs.
    """
    file = Path(workdir) / "config.json"
    wanted = json.loads(json.dumps(config))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        return
    try:
        stored = json.loads(file.read_text())
    except ValueError as error:
        raise WorkdirError(f"{file} is not JSON ({error}); choose another workdir") from error
    difference = _difference(stored, wanted)
    if difference:
        raise WorkdirError(
            f"{workdir} belongs to another config: {difference}; choose another workdir"
        )


def _acquire(file: Path) -> int:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            os.close(descriptor)
            if not _orphaned(owner):
                raise WorkdirError(
                    f"{file.parent} is in use by process {owner or 'unknown'}; "
                    "wait for it or choose another workdir"
                ) from None
            # the owner is dead, a child of its own still holds the old file open
            file.unlink(missing_ok=True)
            continue
        if os.fstat(descriptor).st_nlink == 0:  # someone took over between open and lock
            os.close(descriptor)
            continue
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except OSError:  # a full disk; the lock must not outlive the complaint
            os.close(descriptor)
            raise
        return descriptor


def _orphaned(owner: str) -> bool:
    pid, _, host = owner.partition(" on ")
    if not pid.isdigit() or host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _difference(stored: Any, wanted: Any, name: str = "") -> str:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        for key in sorted(stored.keys() | wanted.keys()):
            below = f"{name}.{key}".lstrip(".")
            if key not in stored or key not in wanted:
                where = "this run" if key in wanted else "the workdir"
                return f"field {below} exists only in {where}"
            if found := _difference(stored[key], wanted[key], below):
                return found
        return ""
    same = stored == wanted and type(stored) is type(wanted)
    return "" if same else f"field {name} is {stored!r} there, {wanted!r} in this run"
