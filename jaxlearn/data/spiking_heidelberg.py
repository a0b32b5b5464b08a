"""Speech as spikes of an ear model (Cramer et al., 2020): Heidelberg Digits, Speech Commands."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble, part
from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import stratified_order

CHANNELS = 700
HOMEPAGE = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
TRAIN, TEST = (
    DataFile(paths=(f"shd/shd_{part}.h5", f"shd_{part}.h5"), homepage=HOMEPAGE)
    for part in ("train", "test")
)
COMMANDS = {
    name: DataFile(paths=(f"ssc/ssc_{file}.h5", f"ssc_{file}.h5"), homepage=HOMEPAGE)
    for name, file in {"train": "train", "validation": "valid", "test": "test"}.items()
}
FIELDS = ("spikes/times", "spikes/units", "labels")
READ = """
import sys
try:
    import resource
    memory, seconds = map(int, sys.argv[2:4])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
except (ImportError, ValueError, OSError):
    pass  # not on Windows, or a lower limit is set already
import h5py
with h5py.File(sys.argv[1], "r") as file:
    for name in sys.argv[4:]:
        if name in file:
            file[name][()]
"""
"""What the process does that reads a file first, within so many bytes and seconds of computing."""
READ_BYTES = 2**30
"""Memory of that process beside four times the file."""
READ_SECONDS = 30
"""What that process may compute, beside a second for each megabyte of the file."""
WAIT_SECONDS = 900
"""What it may take with waiting for the disk."""
WORDS = tuple(f"word {number}" for number in range(35))
CLASSES = tuple(f"{language} {digit}" for language in ("english", "german") for digit in range(10))


def shd(
    *,
    frames: int = 100,
    bands: int = 140,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Spike counts float32 [N, frames, bands] in frames of 10 ms; later spikes are dropped.

    Neighbouring channels of the 700 are added up to `bands`. Validation is drawn from the training
    file by class and `seed`; test is the test file.

    Raises:
        ValueError: when `bands` does not divide 700.
        MissingData: without the files, or without h5py, which reads them.
        CorruptData: when a file is not like the published ones.
    """
    _check(frames, bands)
    pool, held = (read_events(find(file), frames, bands, len(CLASSES)) for file in (TRAIN, TEST))
    source = f"spikes of 2 HDF5 files, {frames} frames of {bands} bands"
    sizes = {"train": train, "validation": validation, "test": test, "seed": seed}
    return assemble("shd", source, CLASSES, pool, held, finish=np.asarray, **sizes)


def ssc(
    *,
    frames: int = 100,
    bands: int = 140,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> Dataset:
    """The Spiking Speech Commands, 35 words by many speakers, as counts like those of `shd`.

    The parts are those of the files; each can be cut to a prefix with the classes in proportion.
    All of it takes some 6 GB.

    Raises:
        ValueError: when `bands` does not divide 700, or more clips are asked for than there are.
        MissingData: without the files, or without h5py, which reads them.
        CorruptData: when a file is not like the published ones.
    """
    _check(frames, bands)
    sizes = {"train": train, "validation": validation, "test": test}
    parts, positions = {}, {}
    for name, size in sizes.items():
        inputs, labels = read_events(find(COMMANDS[name]), frames, bands, len(WORDS))
        order = stratified_order(labels)
        if size is not None and not 0 < size <= len(order):
            raise ValueError(f"{name}={size} clips asked for, {len(order)} are there")
        positions[name] = order[:size]
        parts[name] = part(inputs[positions[name]], labels[positions[name]])
    source = f"spikes of 3 HDF5 files, {frames} frames of {bands} bands"
    return Dataset(name="ssc", classes=WORDS, source=source, positions=positions, **parts)


def _check(frames: int, bands: int) -> None:
    if frames < 1 or bands < 1 or CHANNELS % bands:
        raise ValueError(f"frames={frames}, bands={bands}; bands have to divide {CHANNELS}")


def read_events(path: Path, frames: int, bands: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts [N, frames, bands] and labels of one file: `spikes/times`, `spikes/units`, `labels`.

    Times are in seconds, units 0 to 699; each clip has its own number of spikes.
    """
    try:
        import h5py
    except ImportError:
        raise MissingData(
            f"{path.name} is read by h5py, which is not installed; install jaxlearn[hdf5]"
        ) from None
    _survives(path)
    with parsing(path.name), h5py.File(path, "r") as file:
        for name in FIELDS:
            if name not in file:
                raise CorruptData(f"{path.name} has no {name}")
        times, units = file["spikes/times"][()], file["spikes/units"][()]
        labels = np.asarray(file["labels"][()]).astype(np.int64)
    if not len(times) == len(units) == len(labels):
        found = f"{len(times)} clips of times, {len(units)} of units, {len(labels)} labels"
        raise CorruptData(f"{path.name} has {found}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise CorruptData(f"{path.name} has labels beyond 0 to {classes - 1}")
    made = np.zeros((len(labels), frames, bands), np.float32)
    for i, (when, where) in enumerate(zip(times, units, strict=True)):
        made[i] = event_counts(when, where, frames, bands, f"{path.name}, clip {i}")
    return made, labels


def _survives(path: Path) -> None:
    """Have another process read the file first: a damaged one can end the HDF5 library's own.

    Or take all memory, where a damaged length or shape asks for gigabytes, or search for an end
    that a damaged pointer leads away from; so that process has limits. What it reads is stored as
    it is, so that a good file needs no more memory than its size.
    """
    size = path.stat().st_size
    seconds = READ_SECONDS + size // 10**6
    words = [sys.executable, "-c", READ, str(path), str(READ_BYTES + 4 * size), str(seconds)]
    words += FIELDS
    # one thread, as each takes memory of its own
    environ = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=WAIT_SECONDS, env=environ
        )
    except subprocess.TimeoutExpired:
        raise CorruptData(f"{path.name} is not read within {WAIT_SECONDS} s") from None
    if done.returncode < 0:
        found = signal.Signals(-done.returncode).name
        if found == "SIGXCPU":
            raise CorruptData(f"{path.name} is not read within {seconds} s of computing")
        raise CorruptData(f"{path.name} ends the process that reads it with {found}")
    if done.returncode:
        last = (done.stderr.strip() or "it cannot be read").splitlines()[-1]
        with parsing(path.name):
            raise OSError(last.partition(": ")[2] or last)


def event_counts(
    times: np.ndarray, units: np.ndarray, frames: int, bands: int, name: str = "clip"
) -> np.ndarray:
    """Spikes per frame of 10 ms and band, float32 [frames, bands].

    >>> counts = event_counts(np.array([0.001, 0.002, 0.031]), np.array([0, 4, 699]), 4, 140)
    >>> counts[0, 0], counts[3, 139], counts.sum()
    (np.float32(2.0), np.float32(1.0), np.float32(3.0))
    """
    when, where = np.asarray(times, np.float64), np.asarray(units, np.int64)
    if when.shape != where.shape or when.ndim != 1:
        raise CorruptData(f"{name} has {when.shape} times and {where.shape} units")
    if when.size and not (0 <= where.min() <= where.max() < CHANNELS and when.min() >= 0):
        raise CorruptData(f"{name} has units beyond 0 to {CHANNELS - 1}, or times before 0")
    frame = np.floor(when / 0.01).astype(np.int64)
    seen = frame < frames
    counts = np.zeros((frames, bands), np.float32)
    np.add.at(counts, (frame[seen], where[seen] // (CHANNELS // bands)), 1)
    return counts
