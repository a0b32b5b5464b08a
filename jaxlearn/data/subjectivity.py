"""Subj: sentences that judge a film or tell its plot (Pang and Lee, ACL 2004)."""

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble
from jaxlearn.data.labelled_sentences import read_labelled
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.sst5 import HOME, RAW

_FILE = DataFile(
    paths=("subj/subj.all", "subj/subj.all.gz"),
    homepage=HOME,
    urls=(f"{RAW}/subj.all",),
    sha256="f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c",
    gunzipped=True,
)


def subjectivity(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """10,000 sentences as an array of strings, half of either class; label 1 is objective.

    The file has no parts: a tenth of each class, drawn by `seed`, is for testing, and another tenth
    of the rest for validation. Figures of different seeds are of different test sentences.
    """
    # the file is from before UTF-8
    sentences, labels = read_labelled(find(_FILE), 2, encoding="latin-1")
    order = stratified_order(labels, seed)
    held_out, pool = order[: len(order) // 10], order[len(order) // 10 :]
    return assemble(
        "subjectivity",
        "lines of class and sentence",
        ("subjective", "objective"),
        (sentences[pool], labels[pool]),
        (sentences[held_out], labels[held_out]),
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        finish=np.asarray,
    )
