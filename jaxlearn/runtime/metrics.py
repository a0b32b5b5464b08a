"""Metrics on disk: `metrics.jsonl`, one line per step, and TensorBoard event files."""

import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from jaxlearn.runtime.workdir import WorkdirError

NAME = "metrics.jsonl"
Row = dict[str, Any]


class Log(NamedTuple):
    """Open metrics files of a run; both are `None` when nothing is to be written."""

    lines: TextIO | None = None
    events: Any = None

    def write(self, rows: list[Row]) -> None:
        """Append the rows as JSON lines with the time; the last one goes to TensorBoard, too.

        NaN and infinities, which JSON lacks, are written as strings.

        Raises:
            WorkdirError: when the disk is full or not writable.
        """
        if self.lines is None or not rows:
            return
        now = {"time": round(time.time(), 3)}
        try:
            self.lines.writelines(json.dumps(_plain(row | now)) + "\n" for row in rows)
            self.lines.flush()
        except OSError as error:
            raise WorkdirError(f"{self.lines.name}: {error.strerror}; free some space") from error
        for name, value in rows[-1].items():
            if name != "step":
                self.events.add_scalar(name, float(np.mean(value)), rows[-1]["step"])

    def sync(self) -> None:
        """Flush to the disk itself, as a checkpoint is about to rely on these lines."""
        if self.lines is not None:
            os.fsync(self.lines.fileno())


@contextmanager
def open_log(workdir: Path | None, step: int = 0) -> Iterator[Log]:
    """The log of a run that goes on after `step`: later lines, and a half-written one, are cut off.

    Args:
        workdir: the run's folder; `None` writes nothing.
        step: the restored step, 0 for a new run.
    """
    if workdir is None:
        yield Log()
        return
    from tensorboardX import SummaryWriter  # slow to import, and not needed without a workdir

    file = workdir / NAME
    _cut(file, step)
    with file.open("a") as lines:
        events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)
        try:
            yield Log(lines, events)
        finally:
            events.close()


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
