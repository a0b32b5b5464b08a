"""Recordings of event cameras as frames: N-MNIST, CIFAR10-DVS, DVS-Gesture."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from jaxlearn.data.cifar10 import CLASSES as CIFAR_CLASSES
from jaxlearn.data.dataset import Dataset, assemble
from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.event_files import read_aedat2, read_aedat3, read_atis
from jaxlearn.data.events import Events, between, event_frames
from jaxlearn.data.source import DataFile, local, missing_line
from jaxlearn.data.splits import stratified_order

_NMNIST = DataFile(("n-mnist",), "https://www.garrickorchard.com/datasets/n-mnist")
_CIFAR = DataFile(("cifar10-dvs",), "https://doi.org/10.6084/m9.figshare.4724671")
_GESTURE = DataFile(("dvs-gesture",), "https://research.ibm.com/interactive/dvsgesture/")
DIGITS = tuple(map(str, range(10)))
GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)


def n_mnist(
    *,
    T: int = 10,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Digits before a moving camera (Orchard et al., 2015): event counts [N, T, 34, 34, 2].

    The folder holds `Train` and `Test`, each with folders 0 to 9 of `.bin` files. Only recordings
    that are kept are read.

    Raises:
        MissingData: without the folder, or with an empty one.
        CorruptData: when a recording is damaged.
    """
    root = _folder(_NMNIST)
    pool, held_out = (_labelled(root / part, DIGITS, "*.bin") for part in ("Train", "Test"))
    sizes = {"train": train, "validation": validation, "test": test}
    frames = _frames(read_atis, T, 34)
    parts = (pool, held_out)
    source = f"ATIS recordings in {T} frames"
    return assemble("n_mnist", source, DIGITS, *parts, **sizes, seed=seed, finish=frames)


def cifar10_dvs(
    *,
    T: int = 10,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """CIFAR-10 images before an event camera (Li et al., 2017): event counts [N, T, 128, 128, 2].

    The folder holds one folder per class of `.aedat` files. There is no published split: as in the
    literature a tenth of each class, drawn by `seed`, is for testing.

    Raises:
        MissingData: without the folder, or with an empty one.
        CorruptData: when a recording is damaged.
    """
    paths, labels = _labelled(_folder(_CIFAR), CIFAR_CLASSES, "*.aedat")
    order = stratified_order(labels, seed)
    held_out, pool = order[: len(order) // 10], order[len(order) // 10 :]
    parts = ((paths[pool], labels[pool]), (paths[held_out], labels[held_out]))
    sizes = {"train": train, "validation": validation, "test": test}
    frames = _frames(read_aedat2, T, 128)
    source = f"AEDAT 2 recordings in {T} frames"
    return assemble("cifar10_dvs", source, CIFAR_CLASSES, *parts, **sizes, seed=seed, finish=frames)


def dvs_gesture(
    *,
    T: int = 20,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Gestures before an event camera (Amir et al., CVPR 2017): event counts [N, T, 128, 128, 2].

    The folder holds the `.aedat` files, for each a `_labels.csv` with class, begin and end in
    microseconds, and `trials_to_train.txt` and `trials_to_test.txt`, which name the files.

    Raises:
        MissingData: without the folder, or where a file that is named is not there.
        CorruptData: when a recording or a table is damaged.
    """
    root = _folder(_GESTURE)
    pool, held_out = (_gestures(root, part, T) for part in ("train", "test"))
    sizes = {"train": train, "validation": validation, "test": test}
    source = f"AEDAT 3.1 recordings in {T} frames"
    parts = (pool, held_out)
    return assemble("dvs_gesture", source, GESTURES, *parts, **sizes, seed=seed, finish=np.asarray)


def _frames(
    parse: Callable[[bytes, str], Events], T: int, side: int
) -> Callable[[np.ndarray], np.ndarray]:
    """From paths of recordings to their frames, reading one after the other."""

    def read(paths: np.ndarray) -> np.ndarray:
        frames = np.zeros((len(paths), T, side, side, 2), np.float32)
        for place, path in zip(frames, paths, strict=True):
            place[:] = event_frames(_read(Path(str(path)), parse), T, side, side)
        return frames

    return read


def _folder(file: DataFile) -> Path:
    path = local(file)
    if path is None or not path.is_dir():
        raise MissingData(missing_line(file))
    return path


def _labelled(root: Path, folders, pattern: str) -> tuple[np.ndarray, np.ndarray]:
    paths: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = sorted(map(str, (root / folder).glob(pattern)))
        if not found:
            raise MissingData(f"{root / folder} holds no {pattern}; unpack the data set there")
        paths += found
        labels += [label] * len(found)
    return np.array(paths), np.array(labels, np.int32)


def _read(path: Path, parse: Callable[[bytes, str], Events]) -> Events:
    with parsing(path.name):
        return parse(path.read_bytes(), path.name)


def _gestures(root: Path, part: str, T: int) -> tuple[np.ndarray, np.ndarray]:
    frames, labels = [], []
    for name in _lines(root / f"trials_to_{part}.txt"):
        events = _read(_there(root / name), read_aedat3)
        table = _there(root / f"{Path(name).stem}_labels.csv")
        for label, start, stop in _table(table):
            frames.append(event_frames(between(events, start, stop), T, 128, 128))
            labels.append(label)
    return np.stack(frames), np.array(labels, np.int32)


def _lines(path: Path) -> list[str]:
    with parsing(path.name):
        lines = [line.strip() for line in _there(path).read_text("utf-8").splitlines()]
    if not (found := [line for line in lines if line]):
        raise CorruptData(f"{path.name} names no file; replace it")
    return found


def _table(path: Path) -> Iterator[tuple[int, int, int]]:
    with parsing(path.name), open(path, encoding="utf-8", newline="") as file:
        rows = [[int(cell) for cell in row] for row in list(csv.reader(file))[1:] if row]
    for label, start, stop in rows:
        if not 1 <= label <= len(GESTURES) or start >= stop:
            raise CorruptData(f"{path.name}: {label}, {start}, {stop} is no class, begin and end")
        yield label - 1, start, stop


def _there(path: Path) -> Path:
    if not path.is_file():
        raise MissingData(f"{path.name} is missing; get it from {_GESTURE.homepage}")
    return path
