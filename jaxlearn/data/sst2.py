"""SST-2: sentences of film reviews, bad or good (Socher et al., EMNLP 2013)."""

from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.labelled_sentences import Sentences, sentences_by_part
from jaxlearn.data.source import DataFile, find
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
    found = {name: _read(find(file)) for name, file in FILES.items()}
    sizes = {"train": train, "validation": validation, "test": test}
    classes = ("negative", "positive")
    return sentences_by_part("sst2", "TSV files, sentences only", classes, found, sizes)


def _read(path: Path) -> Sentences:
    lines = [line for line in read_text(path).split("\n") if line]
    rows = [line.rsplit("\t", 1) for line in lines]
    if not rows or any(len(row) != 2 or row[1] not in ("0", "1") for row in rows):
        raise CorruptData(f"{path.name}: its lines are not a sentence, a tab, and 0 or 1")
    texts, labels = zip(*rows, strict=True)
    return np.array(texts), np.array(labels, np.int32)
