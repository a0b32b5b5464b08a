"""MR: sentences of film reviews, bad or good (Pang and Lee, ACL 2005)."""

from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.labelled_sentences import sentences_by_tenths
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.text import read_text

_NEGATIVE, _POSITIVE = (
    DataFile(
        paths=(f"movie-review/rt-polarity.{end}.gz", f"movie-review/rt-polarity.{end}"),
        homepage="https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    )
    for end in ("neg", "pos")
)


def movie_reviews(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """10,662 sentences as an array of strings; label 1 is good.

    The files have no parts: a tenth of each class, drawn by `seed`, is for testing, and another
    tenth of the rest for validation. Figures of different seeds are of different test sentences.
    """
    texts, labels = [], []
    for label, file in enumerate((_NEGATIVE, _POSITIVE)):
        found = _read(find(file))
        texts += found
        labels += [label] * len(found)
    sentences = np.array(texts), np.array(labels, np.int32)
    sizes = {"train": train, "validation": validation, "test": test}
    classes, source = ("negative", "positive"), "two text files, a sentence a line"
    return sentences_by_tenths("movie_reviews", source, classes, sentences, sizes, seed)


def _read(path: Path) -> list[str]:
    # the files are from before UTF-8
    lines = [line.strip() for line in read_text(path, encoding="latin-1").split("\n")]
    if not (found := [line for line in lines if line]):
        raise CorruptData(f"{path.name} has no line of text; replace the file")
    return found
