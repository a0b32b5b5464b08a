"""Writing files so that a crash leaves the old one or the new one, never half of one."""

import hashlib
import os
from pathlib import Path


def replace_text(file: Path, text: str) -> None:
    """Write a file whole: into a temporary one, flushed to the disk, then renamed over `file`."""
    draft = file.with_name(f"{file.name}.draft{os.getpid()}")
    try:
        with draft.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
