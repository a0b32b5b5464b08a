"""Examples as they leave the frozen layers below the adapters, computed once."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from jaxlearn.core import PyTree
from jaxlearn.data import load
from jaxlearn.data.minilm import minilm_vocabulary, minilm_weights
from jaxlearn.data.sst2 import sst2
from jaxlearn.data.wordpiece import encode
from jaxlearn.models.minilm import LAYERS, minilm_embedding, minilm_encoder, minilm_params

PIECE = 100
Encoded = tuple[PyTree, dict[str, dict[str, Any]]]


def digits_as_tokens(train: int | None, judged: str) -> Encoded:
    """The rows of each image as its tokens; nothing is pretrained."""
    data = load("digits", train=train)

    def tokens(part: Mapping[str, Any]) -> dict[str, Any]:
        x = part["inputs"][..., 0]
        return {**part, "inputs": {"x": x, "mask": np.ones(x.shape[:2], bool)}}

    return {}, {"train": tokens(data.train), "test": tokens(getattr(data, judged))}


@lru_cache(maxsize=2)
def sst2_encoded(adapted: int, length: int, train: int | None, judged: str) -> Encoded:
    """MiniLM's encoder parameters, and SST-2 below its top layers.

    Args:
        adapted: so many layers from the top are left out.
        length: tokens per sentence, longer ones are cut.
        train: sentences to train on.
        judged: the part that is measured.
    """
    data, known = sst2(train=train), minilm_vocabulary()
    weights, below = minilm_params(minilm_weights()), LAYERS - adapted

    @jax.jit
    def lower(weights: PyTree, ids: jax.Array) -> jax.Array:
        x, mask = minilm_embedding().apply({"params": weights["embed"]}, ids)
        if not below:
            return x
        out: Any = minilm_encoder(0, below).apply({"params": weights["encoder"]}, x, mask)
        return out

    def encoded(part: Mapping[str, Any]) -> dict[str, Any]:
        ids = encode(part["inputs"], known, length)
        filled = np.concatenate([ids, np.zeros((-len(ids) % PIECE, length), np.int32)])
        pieces = np.split(filled, len(filled) // PIECE)
        x = np.concatenate([np.asarray(lower(weights, piece)) for piece in pieces])
        return {**part, "inputs": {"x": x[: len(ids)], "mask": ids != 0}}

    parts = {"train": encoded(data.train), "test": encoded(getattr(data, judged))}
    return {"encoder": weights["encoder"]}, parts
