"""A file system of a few hundred kilobytes, to be filled and to be made read-only."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small(folder: Path, size: str = "600k") -> Iterator[Path]:
    """Mount one at the folder for a while; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path, seconds: float = 10) -> None:
    """What closes files in threads of its own, as the arrays' storage does, has so long for it."""
    deadline = time.monotonic() + seconds
    while subprocess.run(["umount", str(folder)], capture_output=True).returncode:
        if time.monotonic() > deadline:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            pytest.fail(f"files in {folder} are still open after {seconds} s")
        time.sleep(0.1)


def read_only(folder: Path) -> None:
    """From now on nothing can be written there."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all the space but the bytes to leave; delete it to have the space back."""
    filler, reserve = folder / "filler", folder / "reserve"
    reserve.write_bytes(bytes(leave))
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)) == 4096:
            pass
    reserve.unlink()
    return filler


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below the folder by name."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
