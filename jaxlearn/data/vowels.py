"""Vowels of female speakers as formants (Hillenbrand et al. 1995), as the table that Momeni et al.,
Science 382, 2023 (arXiv 2304.11042) trained physical networks on.
"""

import re
from typing import NamedTuple

import numpy as np

from jaxlearn.data.dataset import Dataset, part
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import random_order
from jaxlearn.data.xlsx import Cell, read_xlsx

HOME = "https://github.com/MomeniAli/PhyLL"
TABLE = DataFile(
    paths=("phyll/Vowel_dataset.xlsx",),
    homepage=HOME,
    urls=(f"{HOME}/raw/main/Vowel%20datasets/Vowel_dataset.xlsx",),
    sha256="d492d33fcb2444daea663e7c4909dbcd2ad51fd479c97117a2c1f01790b70768",
)
CLASSES = ("ae", "ah", "aw", "er", "ih", "iy", "uw")
FORMANTS = 12
_NAME = re.compile(r"w\d\d([a-z]{2})")


class Scaling(NamedTuple):
    """`x = max((formants - mean) / std - low, 0)`, learnt from training examples."""

    mean: np.ndarray
    std: np.ndarray
    low: float

    def __call__(self, formants: np.ndarray) -> np.ndarray:
        """Scaled formants float32, none below 0, so that they can be amplitudes."""
        standard = (formants - self.mean) / self.std
        return np.maximum(standard - self.low, 0).astype(np.float32)


def vowels(
    *, seed: int = 0, validation: int = 0, test: int | None = None, reserved: int = 8
) -> Dataset:
    """258 utterances of 7 vowels, [N, reserved + 12]: F1 to F3 at steady state and at 20, 50, 80 %.

    Each formant is standardised and the least value of all subtracted, with statistics of the
    training part; test values below it become 0. Before them stand `reserved` zeros, the place of a
    label. Test are 20 % (52) drawn by `seed`, validation examples are drawn from the rest.
    """
    formants, labels = _table(read_xlsx(find(TABLE)))
    return divided(formants, labels, seed, validation, test, reserved, "Vowel_dataset.xlsx")


def planted_vowels(
    size: int = 40, *, seed: int = 0, spread: float = 60.0, reserved: int = 8
) -> Dataset:
    """Made-up vowels of the same shape that need no file: a Gaussian cloud per class."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(400, 2600, (len(CLASSES), FORMANTS))
    labels = np.arange(size) % len(CLASSES)
    formants = centres[labels] + rng.normal(0, spread, (size, FORMANTS))
    return divided(formants, labels, seed, 0, None, reserved, "planted")


def divided(
    formants: np.ndarray,
    labels: np.ndarray,
    seed: int,
    validation: int,
    test: int | None,
    reserved: int,
    source: str,
) -> Dataset:
    """The parts of a random division, each scaled by the training part's statistics."""
    size = len(labels)
    test = size - int(0.8 * size) if test is None else test
    if test < 1 or validation < 0 or reserved < 0 or test + validation >= size:
        raise ValueError(
            f"test={test}, validation={validation} of {size} utterances and reserved={reserved}; "
            "leave at least one to train on, and nothing below 0"
        )
    order = random_order(size, seed)
    train = size - test - validation
    positions = {
        "train": order[:train],
        "validation": order[train : train + validation],
        "test": order[train + validation :],
    }
    scale = scaling(formants[positions["train"]])
    pad = lambda x: np.pad(x, [(0, 0), (reserved, 0)])
    parts = {k: part(pad(scale(formants[p])), labels[p]) for k, p in positions.items()}
    return Dataset(name="vowels", classes=CLASSES, source=source, positions=positions, **parts)


def scaling(formants: np.ndarray) -> Scaling:
    """The scaling of the paper, from these examples alone.

    >>> scaling(np.array([[1.0, 5.0], [3.0, 5.0]]))(np.array([[3.0, 5.0], [0.0, 6.0]])).tolist()
    [[2.0, 1.0], [0.0, 2.0]]
    """
    mean, std = formants.mean(0), formants.std(0)
    std = np.where(std > 0, std, 1)
    return Scaling(mean, std, float(((formants - mean) / std).min()))


def _table(rows: list[list[Cell]]) -> tuple[np.ndarray, np.ndarray]:
    """Formants float64 [N, 12] and labels [N] of rows "w01ae", F1, F2, …"""
    name = TABLE.paths[0]
    formants, labels = [], []
    for row in rows[1:]:
        match = _NAME.fullmatch(str(row[0])) if row else None
        if match is None or match[1] not in CLASSES or len(row) != 1 + FORMANTS:
            raise CorruptData(f"{name}: {row[:2]!r}… is not a speaker, a vowel and 12 formants")
        if not all(isinstance(value, float) and value > 0 for value in row[1:]):
            raise CorruptData(f"{name}: a formant of {row[0]} is missing or not positive")
        formants.append(row[1:])
        labels.append(CLASSES.index(match[1]))
    if not labels:
        raise CorruptData(f"{name} has no utterances")
    return np.array(formants, np.float64), np.array(labels, np.int32)
