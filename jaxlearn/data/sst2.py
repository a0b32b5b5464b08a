"""SST-2: sentences of film reviews, bad or good (Socher et al., EMNLP 2013)."""

from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset, part
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.text import read_text

_HOME = "https://github.com/clairett/pytorch-sentiment-classification"
FILES = {
    name: DataFile(paths=(f"sst2/{file}.tsv.gz", f"sst2/{file}.tsv"), homepage=_HOME)
    for name, file in {"train": "train", "validation": "dev", "test": "test"}.items()
}


def sst2(
    *, train: int | None = None, validation: int | None = None, test: int | None = None
) -> Dataset:
    """Whole sentences (6,920 + 872 + 1,821), as an array of strings; label 1 is good.

    The parts are those of the files; each can be cut to a prefix with both classes in proportion.
    """
    sizes = {"train": train, "validation": validation, "test": test}
    parts, positions = {}, {}
    for name, size in sizes.items():
        texts, labels = _read(find(FILES[name]))
        order = stratified_order(labels)
        if size is not None and not 0 < size <= len(order):
            raise ValueError(f"{name}={size} sentences asked for, {len(order)} are there")
        positions[name] = order[:size]
        parts[name] = part(texts[positions[name]], labels[positions[name]])
    return Dataset(
        name="sst2",
        classes=("negative", "positive"),
        source="TSV files, sentences only",
        positions=positions,
        **parts,
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line for line in read_text(path).split("\n") if line]
    rows = [line.rsplit("\t", 1) for line in lines]
    if not rows or any(len(row) != 2 or row[1] not in ("0", "1") for row in rows):
        raise CorruptData(f"{path.name}: its lines are not a sentence, a tab, and 0 or 1")
    texts, labels = zip(*rows, strict=True)
    return np.array(texts), np.array(labels, np.int32)
