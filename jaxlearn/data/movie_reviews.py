"""MR: sentences of film reviews, bad or good (Pang and Lee, ACL 2005)."""

from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import stratified_order
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
    sentences, answers = np.array(texts), np.array(labels, np.int32)
    order = stratified_order(answers, seed)
    held_out, pool = order[: len(order) // 10], order[len(order) // 10 :]
    return assemble(
        "movie_reviews",
        "two text files, a sentence a line",
        ("negative", "positive"),
        (sentences[pool], answers[pool]),
        (sentences[held_out], answers[held_out]),
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        finish=np.asarray,
    )


def _read(path: Path) -> list[str]:
    # the files are from before UTF-8
    lines = [line.strip() for line in read_text(path, encoding="latin-1").split("\n")]
    if not (found := [line for line in lines if line]):
        raise CorruptData(f"{path.name} has no line of text; replace the file")
    return found
