"""Subj: sentences that judge a film or tell its plot (Pang and Lee, ACL 2004)."""

from jaxlearn.data.dataset import Dataset
from jaxlearn.data.labelled_sentences import labelled_file, read_labelled, sentences_by_tenths
from jaxlearn.data.source import find

_FILE = labelled_file(
    "subj", "subj.all", "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"
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
    found = read_labelled(find(_FILE), 2, encoding="latin-1")
    sizes = {"train": train, "validation": validation, "test": test}
    classes, source = ("subjective", "objective"), "lines of class and sentence"
    return sentences_by_tenths("subjectivity", source, classes, found, sizes, seed)
