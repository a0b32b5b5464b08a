"""TensorBoard's event files: records of a length, an event, and a checksum of each."""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


def begin(folder: Path, step: int) -> BinaryIO:
    """Open an event file of this process whose steps come after `step`; older ones are kept.

    TensorBoard forgets what files before it said of later steps.
    """
    from tensorboardX.writer import SessionLog  # slow to import

    folder.mkdir(exist_ok=True)
    name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
    # a clock set back, or two runs within a second, may come by this name again
    file = (folder / name).open("ab")
    file.write(_record(file_version="brain.Event:2"))
    file.write(_record(step=step + 1, session_log=SessionLog(status=SessionLog.START)))
    return file


def write(file: BinaryIO, row: Mapping[str, Any]) -> None:
    """Append the numbers of a row at its `"step"`; a list counts by its mean."""
    from tensorboardX.summary import Summary

    numbers = {name: float(np.mean(value)) for name, value in row.items() if name != "step"}
    values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
    file.write(_record(step=row["step"], summary=Summary(value=values)))
    file.flush()


def _record(**parts: Any) -> bytes:
    from tensorboardX.record_writer import masked_crc32c
    from tensorboardX.writer import Event

    event = Event(wall_time=time.time(), **parts).SerializeToString()
    length = struct.pack("<Q", len(event))
    first, last = (struct.pack("<I", masked_crc32c(part)) for part in (length, event))
    return length + first + event + last
