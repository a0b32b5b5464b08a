"""MiniLM-L6-H384 (Wang et al., NeurIPS 2020), from the names of its published arrays."""

from collections.abc import Mapping

import numpy as np

from jaxlearn.core import PyTree
from jaxlearn.models.encoder import Encoder, TextEmbedding

LAYERS, WIDTH, HEADS, HIDDEN, VOCABULARY = 6, 384, 12, 1536, 30522

_PARTS = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "hidden": "intermediate.dense",
    "out": "output.dense",
    "ffn_norm": "output.LayerNorm",
}


def minilm_embedding() -> TextEmbedding:
    """The embedding of token numbers."""
    return TextEmbedding(VOCABULARY, WIDTH)


def minilm_encoder(first: int = 0, last: int = LAYERS, **places) -> Encoder:
    """Layers `first` up to, not including, `last`; `places` are those of `Encoder`.

    Raises:
        ValueError: when there are no such layers.
    """
    if not 0 <= first < last <= LAYERS:
        raise ValueError(f"layers {first} to {last} are not within 0 to {LAYERS}")
    return Encoder(last - first, HEADS, HIDDEN, first=first, **places)


def minilm_params(arrays: Mapping[str, np.ndarray]) -> dict[str, PyTree]:
    """`{"embed": ..., "encoder": ...}` from the published arrays.

    The embedding of the first token type, which every token has, is added to the positions.

    Raises:
        ValueError: naming the first array that is missing.
    """

    def array(name: str) -> np.ndarray:
        if name not in arrays:
            raise ValueError(f"the weights have no array {name!r}; are they those of MiniLM-L6?")
        return np.asarray(arrays[name], np.float32)

    def norm(name: str) -> PyTree:
        return {"scale": array(f"{name}.weight"), "bias": array(f"{name}.bias")}

    def dense(name: str) -> PyTree:
        return {"kernel": array(f"{name}.weight").T, "bias": array(f"{name}.bias")}

    def layer(number: int) -> PyTree:
        made: dict[str, PyTree] = {"attention": {}}
        for path, name in _PARTS.items():
            whole = f"encoder.layer.{number}.{name}"
            read = norm if name.endswith("LayerNorm") else dense
            place = made["attention"] if path.startswith("attention/") else made
            place[path.split("/")[-1]] = read(whole)
        return made

    kinds = array("embeddings.token_type_embeddings.weight")
    embed = {
        "word": array("embeddings.word_embeddings.weight"),
        "position": array("embeddings.position_embeddings.weight") + kinds[0],
        "norm": norm("embeddings.LayerNorm"),
    }
    return {"embed": embed, "encoder": {f"layer_{i}": layer(i) for i in range(LAYERS)}}
