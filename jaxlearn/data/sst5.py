"""SST-5: sentences of film reviews in five grades (Socher et al., EMNLP 2013)."""

from jaxlearn.data.dataset import Dataset
from jaxlearn.data.labelled_sentences import labelled_file, read_labelled, sentences_by_part
from jaxlearn.data.source import find

DIGESTS = {
    "train": "9b52b5f686ed438d4d0274c385369251b3d579b578fddd340ba8a9bae2ca4bee",
    "dev": "b2f76c62b960f9fda5c6d751edb125abab4f878eb94a8754239b7f4af647f4c3",
    "test": "0e2ebb450c231f7b3d67fc932066e7bb26ae7bad8c88488f45ed44ef02eb3c73",
}
FILES = {
    "validation" if end == "dev" else end: labelled_file("sst5", f"stsa.fine.{end}", digest)
    for end, digest in DIGESTS.items()
}
GRADES = ("very negative", "negative", "neutral", "positive", "very positive")


def sst5(
    *, train: int | None = None, validation: int | None = None, test: int | None = None
) -> Dataset:
    """Whole sentences (8,544 + 1,101 + 2,210), as an array of strings; label 4 is very good.

    The parts are those of the files; each can be cut to a prefix with all grades in proportion.
    """
    found = {name: read_labelled(find(file), len(GRADES)) for name, file in FILES.items()}
    sizes = {"train": train, "validation": validation, "test": test}
    return sentences_by_part("sst5", "lines of grade and sentence", GRADES, found, sizes)
