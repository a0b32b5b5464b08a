"""Sentences with a class each: files of one sentence a line, and parts that files decide."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset, part
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.text import read_text

Sentences = tuple[np.ndarray, np.ndarray]
"""Strings and the int32 class of each."""


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
