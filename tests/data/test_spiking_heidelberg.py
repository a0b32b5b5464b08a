"""Event files made here, read as frames of counts; and files that are not event files."""

import base64
import builtins
import lzma
import sys

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData, load, spiking_heidelberg
from jaxlearn.data.spiking_heidelberg import event_counts, read_events

h5py = pytest.importorskip("h5py")


def write(path, times, units, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        spikes = file.create_group("spikes")
        for name, values, kind in (("times", times, np.float16), ("units", units, np.uint16)):
            rows = spikes.create_dataset(name, (len(values),), h5py.vlen_dtype(kind))
            for i, row in enumerate(values):
                rows[i] = np.asarray(row, kind)
        file["labels"] = np.asarray(labels, np.uint16)


def clips(n, seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(5, 30, n)
    times = [np.sort(rng.uniform(0, 1.3, size)).astype(np.float16) for size in sizes]
    units = [rng.integers(0, 700, size) for size in sizes]
    return times, units, np.arange(n) % 20


def test_counts_are_spikes_per_frame_and_band(tmp_path, monkeypatch):
    made = {"train": clips(60, 0), "test": clips(20, 1)}
    for part, values in made.items():
        write(tmp_path / f"shd/shd_{part}.h5", *values)
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    data = load("shd", frames=100, bands=140, validation=20)
    assert data.train["inputs"].shape == (40, 100, 140)
    assert len(data.classes) == 20
    times, units, labels = made["test"]
    np.testing.assert_array_equal(data.test["labels"], labels)
    for i, (when, where) in enumerate(zip(times, units, strict=True)):
        expected = np.zeros((100, 140))
        for t, unit in zip(when.astype(float), where, strict=True):
            if t < 1:
                expected[int(np.floor(t / 0.01)), unit // 5] += 1
        np.testing.assert_array_equal(data.test["inputs"][i], expected)


def test_speech_commands_keep_their_own_parts(tmp_path, monkeypatch):
    for part, n in (("train", 70), ("valid", 35), ("test", 35)):
        times, units, _ = clips(n, n)
        write(tmp_path / f"ssc/ssc_{part}.h5", times, units, np.arange(n) % 35)
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path))
    data = load("ssc", frames=20, bands=70, train=35)
    assert [len(p["labels"]) for p in (data.train, data.validation, data.test)] == [35, 35, 35]
    assert sorted(data.train["labels"].tolist()) == list(range(35))
    times, units, _ = clips(35, 35)
    place = data.positions["test"].tolist().index(7)
    expected = event_counts(times[7], units[7], 20, 70)
    np.testing.assert_array_equal(data.test["inputs"][place], expected)
    with pytest.raises(ValueError, match="train=71 clips asked for, 70"):
        load("ssc", train=71)


def test_wrong_files_are_named(tmp_path, monkeypatch):
    good = clips(4, 2)
    path = tmp_path / "shd_train.h5"
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(CorruptData, match=r"shd_train.h5"):
        read_events(path, 10, 140, 20)
    write(path, good[0], good[1], good[2][:3])
    with pytest.raises(CorruptData, match="4 clips of times, 4 of units, 3 labels"):
        read_events(path, 10, 140, 20)
    write(path, good[0], good[1], [0, 1, 2, 20])
    with pytest.raises(CorruptData, match="labels beyond 0 to 19"):
        read_events(path, 10, 140, 20)
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros(3)
    with pytest.raises(CorruptData, match="has no spikes/times"):
        read_events(path, 10, 140, 20)
    with pytest.raises(CorruptData, match="units beyond 0 to 699"):
        event_counts(np.array([0.1]), np.array([700]), 10, 140)
    with pytest.raises(CorruptData, match=r"\(2,\) times and \(1,\) units"):
        event_counts(np.array([0.1, 0.2]), np.array([7]), 10, 140)
    with pytest.raises(ValueError, match="bands=99; bands have to divide 700"):
        load("shd", bands=99)
    monkeypatch.setenv("JAXLEARN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(MissingData, match=r"shd/shd_train\.h5 is missing; get it from"):
        load("shd")


def test_without_h5py_it_says_so(tmp_path, monkeypatch):
    path = tmp_path / "shd_train.h5"
    path.write_bytes(b"")
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingData, match=r"install jaxlearn\[hdf5\]"):
        read_events(path, 10, 140, 20)


KILLER = """
/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM4CH3AWxdAESSBIRvent3SsRmT2odD3JpHhjMHzfpK9d51dCdlzVYwMiVidGUMP/x
3+MvtDk7Sfj+1zBEXa80Sutz9gl0g/2ARbvk5FBDhKWSewK6zO0uTXf+2K/necnQhCeaAg/YUx2NmHqJpNDA+gdX0Gwo3hYE
RCvKIKTWTwkQglQmZT4/Zk1jMDJY8NZk5nkb1wbpQ1B9aOvt1zPQwxLSUgHA4WlrtNlLjdB8G/B3Uo6chIwZalwPDe2DT/5Q
lZPHNhizdB/J07PBTjTFuN3i5jrR9yiUcnGSh8SSwD6dHspnIksDszLpRR1rK9SLs9Gs7kSRIKZ5yO37DwXR6ivdqjJ0XXyQ
xD3JkYP3t32wV4cpclUBpyysF5YwsWG9ECmF+2t3mippsOkbQQCKjNOGuFs/EqHxrpOOIQ28rVtjd7YDuljXY+PMd8E2mcYj
BClUqqVCyGZ9fvmYo6MRkjvwNrBwSKmLaTOW4OZYVmITIQAAbcLhQrnmFE0AAYgD+EMAAGk1GEexxGf7AgAAAAAEWVo=
"""
"""Three clips, with bytes changed by chance: HDF5 follows a pointer out of the file."""


def test_a_damaged_file_that_ends_the_library_is_one_line(tmp_path):
    path = tmp_path / "file.h5"
    path.write_bytes(lzma.decompress(base64.b64decode(KILLER)))
    with pytest.raises(CorruptData, match=r"file.h5 ends the process that reads it with SIG"):
        read_events(path, 10, 70, 20)


@pytest.mark.skipif(sys.platform == "win32", reason="the limit of computing is POSIX's")
def test_a_damaged_size_that_hdf5_searches_on_behind_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "file.h5"
    write(path, *clips(3, 0))
    content = bytearray(path.read_bytes())
    at = content.index(b"GCOL") + 16  # the heap of clips: of each its index, 8 bytes on its size
    while content[at]:
        last, at = at, at + 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[last + 8] = 0x80
    path.write_bytes(content)
    monkeypatch.setattr(spiking_heidelberg, "READ_SECONDS", 2)
    with pytest.raises(CorruptData, match=r"^file.h5 is not read within 2 s of computing$"):
        read_events(path, 10, 70, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is Linux's")
@pytest.mark.parametrize("place", ["length", "shape"])
def test_a_damaged_size_that_asks_for_gigabytes_is_one_line(tmp_path, place):
    path = tmp_path / "file.h5"
    write(path, *clips(3, 0))
    with h5py.File(path, "r+") as file:
        first = file["spikes/times"].id.get_offset()
        if place == "shape":
            del file["labels"]
            file.create_dataset("labels", (2**33,), np.int64)
    if place == "length":  # the first clip's, four bytes of which the last counts sixteen millions
        content = bytearray(path.read_bytes())
        content[first + 3] = 0x7F
        path.write_bytes(content)
    with pytest.raises(CorruptData, match=r"file.h5 is damaged: .*allocat.*; replace the file"):
        read_events(path, 10, 70, 20)
