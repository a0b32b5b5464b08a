"""What every reader of labelled examples returns: three disjoint parts and where they are from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxlearn.data.splits import carve, stratified_order

Arrays = dict[str, np.ndarray]


class Dataset(NamedTuple):
    """Labelled examples in three disjoint parts.

    A part is {"inputs" [N, ...], "labels" int32 [N], "index" int32 [N]}, where "index" counts
    0..N-1 within the part (what a table with one row per example is indexed by).

    Attributes:
        name: the dataset.
        train: the part to train on.
        validation: the part to choose by.
        test: the part to report.
        classes: their names, by label.
        source: in words which files and variant of it were read; figures of different sources must
            not be compared.
        positions: for each part, the examples' positions in the files (train and validation count
            through the training files, test through the test files).
    """

    name: str
    train: Arrays
    validation: Arrays
    test: Arrays
    classes: tuple[str, ...]
    source: str
    positions: dict[str, np.ndarray]


def part(inputs: np.ndarray, labels: np.ndarray) -> Arrays:
    """Inputs and labels with the running index, as one part of a `Dataset`."""
    return {
        "inputs": inputs,
        "labels": labels.astype(np.int32),
        "index": np.arange(len(labels), dtype=np.int32),
    }


def unit_floats(images: np.ndarray) -> np.ndarray:
    """Bytes to float32 in [0, 1]: x / 255.

    >>> unit_floats(np.array([0, 255], np.uint8))
    array([0., 1.], dtype=float32)
    """
    return np.asarray(images, np.float32) / np.float32(255)


def assemble(
    name: str,
    source: str,
    classes: tuple[str, ...],
    pool: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    *,
    train: int | None,
    validation: int | None,
    test: int | None,
    seed: int,
    finish: Callable[[np.ndarray], np.ndarray] = unit_floats,
) -> Dataset:
    """A `Dataset` from the training files (`pool`) and the test files (`held_out`).

    Validation is drawn from the pool by class, by `seed`, and never from the test files (default:
    a tenth). `train` and `test` take balanced prefixes of what is left (default: all of it).
    `finish` is applied to the chosen inputs (`np.asarray` keeps bytes as they are).
    """
    validation = len(pool[1]) // 10 if validation is None else validation
    chosen = carve(pool[1], train=train, validation=validation, seed=seed)
    order = stratified_order(held_out[1])
    if test is not None and not 0 < test <= len(order):
        raise ValueError(f"test={test} examples asked for, {len(order)} are there; ask for fewer")
    positions = {"train": chosen.train, "validation": chosen.validation, "test": order[:test]}
    parts = {
        key: part(finish(from_[0][positions[key]]), from_[1][positions[key]])
        for key, from_ in (("train", pool), ("validation", pool), ("test", held_out))
    }
    return Dataset(name=name, classes=classes, source=source, positions=positions, **parts)
