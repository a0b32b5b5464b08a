import errno
import io
import itertools
import json
import os

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxlearn.runtime import WorkdirError, metrics


def rows(*steps):
    return [{"step": step, "loss": step / 2} for step in steps]


def test_lines_are_json_with_a_time(tmp_path):
    with metrics.open_log(tmp_path) as log:
        log.write([{"step": 1, "loss": float("nan"), "seeds": [1.0, float("inf")]}])
        log.sync()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    stored = json.loads(line, parse_constant=pytest.fail)
    assert stored.keys() == {"step", "loss", "seeds", "time"}
    (row,) = metrics.read(tmp_path)
    assert np.isnan(row["loss"])
    assert row["seeds"] == [1.0, np.inf]


@pytest.mark.parametrize("tail", [b"", b'{"step": 5, "lo', b"\x00\xff\n"])
def test_resuming_cuts_back_to_the_restored_step(tmp_path, tail):
    with metrics.open_log(tmp_path) as log:
        log.write(rows(1, 2, 3, 4))
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(tail)
    with metrics.open_log(tmp_path, 2) as log:
        log.write(rows(3, 4, 5))
    assert metrics.read(tmp_path) == rows(1, 2, 3, 4, 5)
    assert metrics.read(tmp_path, 3) == rows(1, 2, 3)


def test_without_a_workdir_nothing_is_written(tmp_path):
    with metrics.open_log(None) as log:
        log.write(rows(1))
        log.sync()
    assert metrics.read(tmp_path) == []


def events(folder):
    for file in sorted(folder.glob("tensorboard/*")):
        data = file.read_bytes()
        while data:  # length (8 bytes), its checksum (4), an event, its checksum (4)
            length = int.from_bytes(data[:8], "little")
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def test_tensorboard_gets_the_last_row_of_each_chunk(tmp_path):
    with metrics.open_log(tmp_path) as log:
        log.write(rows(1, 2))
        log.write([{"step": 4, "loss": [1.0, 2.0]}])
    found = [(e.step, v.tag, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert found == [(2, "loss", 1.0), (4, "loss", 1.5)]


@pytest.mark.parametrize("tick", [0, -3600])
def test_no_clock_takes_events_away(tmp_path, monkeypatch, tick):
    """It stands still, as for two runs within a second, or is set back all the time."""
    times = itertools.count(2_000_000_000.0, tick)
    monkeypatch.setattr(metrics.time, "time", lambda: next(times))
    for step in (0, 2):
        with metrics.open_log(tmp_path, step) as log:
            log.write(rows(step + 1))
            log.write(rows(step + 2))
    found = [(e.step, v.simple_value) for e in events(tmp_path) for v in e.summary.value]
    assert sorted(found) == [(step, step / 2) for step in (1, 2, 3, 4)]
    assert metrics.read(tmp_path) == rows(1, 2, 3, 4)


def test_a_full_disk_is_one_line(tmp_path):
    class Full(io.StringIO):
        name = "metrics.jsonl"

        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    message = r"metrics.jsonl: No space left on device; free some space"
    with pytest.raises(WorkdirError, match=message) as error:
        metrics.Log(Full(), io.BytesIO()).write(rows(1))
    assert "\n" not in str(error.value)
