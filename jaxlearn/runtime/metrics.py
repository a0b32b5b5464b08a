"""Metrics on disk: `metrics.jsonl`, one line per step, and TensorBoard event files."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

from jaxlearn.runtime import events
from jaxlearn.runtime.workdir import WorkdirError

NAME = "metrics.jsonl"
Row = dict[str, Any]


class Log(NamedTuple):
    """Open metrics files of a run; both are `None` when nothing is to be written."""

    lines: TextIO | None = None
    events: BinaryIO | None = None

    def write(self, rows: list[Row]) -> None:
        """Append the rows as JSON lines with the time; the last one goes to TensorBoard, too.

        NaN and infinities, which JSON lacks, are written as strings.

        Raises:
            WorkdirError: when the disk is full or not writable.
        """
        if self.lines is None or self.events is None or not rows:
            return
        now = {"time": round(time.time(), 3)}
        with _writing(self.lines.name):
            self.lines.writelines(json.dumps(_plain(row | now)) + "\n" for row in rows)
            self.lines.flush()
            events.write(self.events, rows[-1])

    def sync(self) -> None:
        """Flush to the disk itself, as a checkpoint is about to rely on these lines."""
        if self.lines is not None:
            with _writing(self.lines.name):
                os.fsync(self.lines.fileno())


@contextmanager
def open_log(workdir: Path | None, step: int = 0) -> Iterator[Log]:
    """The log of a run that goes on after `step`: later lines, and a half-written one, are cut off.

    Args:
        workdir: the run's folder; `None` writes nothing.
        step: the restored step, 0 for a new run.

    Raises:
        WorkdirError: when the disk is full or not writable.
    """
    if workdir is None:
        yield Log()
        return
    file = workdir / NAME
    with _writing(str(file)):
        _cut(file, step)
        streams = file.open("a"), events.begin(workdir / "tensorboard", step)
    try:
        yield Log(*streams)
    finally:
        for stream in streams:
            # all was flushed when it was written: what is left could not be, which was said then
            with suppress(OSError):
                stream.close()


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkdirError(f"{name}: {error.strerror}; free some space") from error


def read(workdir: str | Path, step: float = math.inf) -> list[Row]:
    """The rows up to `step`, as they were written, without the time; `[]` if there is no file."""
    file = Path(workdir) / NAME
    if not file.exists():
        return []
    rows = (_parsed(line) for line in file.read_bytes().splitlines())
    return [
        {name: _number(value) for name, value in row.items() if name != "time"}
        for row in rows
        if row is not None and row["step"] <= step
    ]


def _cut(file: Path, step: int) -> None:
    if not file.exists():
        return
    kept = 0
    with file.open("rb+") as stream:
        for line in stream:
            row = _parsed(line) if line.endswith(b"\n") else None
            if row is None or row["step"] > step:
                break
            kept += len(line)
        stream.truncate(kept)


def _parsed(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return float(value) if isinstance(value, str) else value
