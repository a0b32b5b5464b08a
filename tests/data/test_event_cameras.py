"""Event cameras: files written here by their published formats, and frames of them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.data import load
from jaxlearn.data.cifar10 import CLASSES as CIFAR_CLASSES
from jaxlearn.data.errors import CorruptData, MissingData
from jaxlearn.data.event_files import read_aedat2, read_aedat3, read_atis
from jaxlearn.data.events import Events, event_frames

RNG = np.random.default_rng(0)


def some_events(n=40, side=34, late=3000):
    x, y = RNG.integers(0, side, (2, n))
    return Events(x, y, RNG.integers(0, 2, n), np.sort(RNG.integers(0, late, n)))


def atis(events):
    rows = zip(*events, strict=True)
    return b"".join(
        bytes([x, y]) + (int(p) << 23 | int(t)).to_bytes(3, "big") for x, y, p, t in rows
    )


def aedat2(events):
    words = [
        (int((127 - y) << 8 | (127 - x) << 1 | (1 - p)), int(t))
        for x, y, p, t in zip(*events, strict=True)
    ]
    body = b"".join(struct.pack(">II", *pair) for pair in words)
    return b"#!AER-DAT2.0\r\n# anything\r\n" + body


def packet(events, kind=1, turns=0, valid=1):
    words = b"".join(
        struct.pack("<II", int(x << 17 | y << 2 | p << 1 | valid), int(t))
        for x, y, p, t in zip(*events, strict=True)
    )
    n = len(events.t)
    return struct.pack("<hhiiiiii", kind, 1, 8, 4, turns, n, n, n) + words


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_formats_give_back_what_was_written(n, seed):
    rng = np.random.default_rng(seed)
    x, y, p = rng.integers(0, 128, n), rng.integers(0, 128, n), rng.integers(0, 2, n)
    events = Events(x, y, p, np.sort(rng.integers(0, 1 << 22, n)))
    same(read_atis(atis(events)), events)
    same(read_aedat2(aedat2(events)), events)
    header = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
    same(read_aedat3(header + packet(events)), events)
    other = packet(events, kind=2)
    same(read_aedat3(header + other + packet(events) + other), events)
    doubled = read_aedat3(header + packet(events) + packet(events, turns=1))
    np.testing.assert_array_equal(doubled.t, np.concatenate([events.t, events.t + 2**31]))


def test_overflow_rows_of_atis_are_no_events():
    first, second = some_events(), some_events()
    mark = bytes([7, 240, 0, 0, 0])
    found = read_atis(atis(first) + mark + atis(second) + mark)
    np.testing.assert_array_equal(found.t, np.concatenate([first.t, second.t + 2**13]))
    assert found.y.max() < 34


def test_invalid_events_are_left_out():
    good, bad = some_events(), some_events()
    header = b"#!END-HEADER\r\n"
    same(read_aedat3(header + packet(bad, valid=0) + packet(good)), good)


def test_frames_hold_equally_many_events():
    events = some_events(47)
    frames = event_frames(events, 5, 34, 34)
    assert frames.sum((1, 2, 3)).tolist() == [9, 9, 9, 9, 11]
    expected = np.zeros((5, 34, 34, 2))
    for i, (x, y, p, _) in enumerate(zip(*events, strict=True)):
        expected[min(i // 9, 4), y, x, p] += 1
    np.testing.assert_array_equal(frames, expected)
    with pytest.raises(ValueError, match="47 events cannot be dealt to 48 frames"):
        event_frames(events, 48, 34, 34)
    with pytest.raises(ValueError, match="does not fit 8 pixels"):
        event_frames(events, 5, 8, 34)


@pytest.mark.parametrize(
    "read, data",
    [
        (read_atis, b""),
        (read_atis, b"1234"),
        (read_aedat2, b"# header without end"),
        (read_aedat2, b"#\n1234"),
        (read_aedat2, b"#\n"),
        (read_aedat3, b"nothing"),
        (read_aedat3, b"#!END-HEADER\r\n"),
        (read_aedat3, b"#!END-HEADER\r\n" + packet(some_events())[:-1]),
        (read_aedat3, b"#!END-HEADER\r\n1234"),
    ],
)
def test_damaged_recordings_are_refused_in_one_line(read, data):
    with pytest.raises(CorruptData, match="the recording") as caught:
        read(data)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    return tmp_path


def test_n_mnist(folder):
    for part in ("Train", "Test"):
        for digit in range(10):
            home = folder / "n-mnist" / part / str(digit)
            home.mkdir(parents=True)
            for number in range(4):
                (home / f"{number:05d}.bin").write_bytes(atis(some_events()))
    data = load("n_mnist", T=3, train=20, validation=0, test=10)
    assert data.train["inputs"].shape == (20, 3, 34, 34, 2)
    assert data.validation["inputs"].shape == (0, 3, 34, 34, 2)
    assert sorted(data.test["labels"].tolist()) == list(range(10))
    assert (data.train["inputs"].sum((1, 2, 3, 4)) == 40).all()
    broken = folder / "n-mnist" / "Test" / "3" / "00000.bin"
    broken.write_bytes(b"123")
    with pytest.raises(CorruptData, match=r"00000\.bin has 3 bytes"):
        load("n_mnist", T=3, train=20)
    for path in (folder / "n-mnist" / "Test" / "3").iterdir():
        path.unlink()
    with pytest.raises(MissingData, match=r"holds no \*\.bin"):
        load("n_mnist")


def test_cifar10_dvs(folder):
    for name in CIFAR_CLASSES:
        (folder / "cifar10-dvs" / name).mkdir(parents=True)
        for number in range(10):
            path = folder / "cifar10-dvs" / name / f"cifar10_{name}_{number}.aedat"
            path.write_bytes(aedat2(some_events(side=128)))
    data = load("cifar10_dvs", T=2, validation=10)
    counts = [len(part["labels"]) for part in (data.train, data.validation, data.test)]
    assert counts == [80, 10, 10]
    assert data.train["inputs"].shape[1:] == (2, 128, 128, 2)


def test_dvs_gesture(folder):
    home = folder / "dvs-gesture"
    home.mkdir()
    events = some_events(60, side=128)
    for part in ("train", "test"):
        (home / f"trials_to_{part}.txt").write_text(f"user_{part}.aedat\n")
        (home / f"user_{part}.aedat").write_bytes(b"#!END-HEADER\r\n" + packet(events))
        lines = [f"{label},{(label - 1) * 270},{label * 270}" for label in range(1, 12)]
        text = "\n".join(["class,startTime_usec,endTime_usec", *lines])
        (home / f"user_{part}_labels.csv").write_text(text)
    data = load("dvs_gesture", T=1, validation=0)
    assert sorted(data.train["labels"].tolist()) == list(range(11))
    for frames, label in zip(data.test["inputs"], data.test["labels"], strict=True):
        inside = (events.t >= label * 270) & (events.t < (label + 1) * 270)
        assert frames.sum() == inside.sum()
    (home / "user_test_labels.csv").write_text("class,a,b\n12,0,5\n")
    with pytest.raises(CorruptData, match="12, 0, 5 is no class"):
        load("dvs_gesture", T=1)
    (home / "user_test.aedat").unlink()
    with pytest.raises(MissingData, match=r"user_test\.aedat is missing"):
        load("dvs_gesture", T=1)
