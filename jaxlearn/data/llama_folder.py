"""Llama checkpoints as they are published today: a folder with `config.json` and safetensors."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.safetensors import read_safetensors

CONFIG = "config.json"
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


class LlamaSizes(NamedTuple):
    """What `llama_blocks` is built with.

    Attributes:
        vocabulary, layers, width, heads, key_heads, hidden: sizes.
        base: of the wavelengths of rotary positions.
        epsilon: of the norms.
    """

    vocabulary: int
    layers: int
    width: int
    heads: int
    key_heads: int
    hidden: int
    base: float
    epsilon: float


def llama_sizes(folder: Path) -> LlamaSizes:
    """The sizes that the `config.json` of a folder tells.

    Raises:
        MissingData: when there is none.
        CorruptData: when it is damaged, or of a model with parts that `llama_blocks` has not:
            another kind, biases, another gate, scaled positions, heads of a width of their own.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise MissingData(f"{folder} has no {CONFIG}; name a folder with a Llama in safetensors")
    with parsing(str(file)):
        told = json.loads(file.read_text(encoding="utf-8"))
        positions = told.get("rope_parameters") or {}
        scaling = told.get("rope_scaling") or positions
        heads, width = int(told["num_attention_heads"]), int(told["hidden_size"])
        sizes = LlamaSizes(
            vocabulary=int(told["vocab_size"]),
            layers=int(told["num_hidden_layers"]),
            width=width,
            heads=heads,
            key_heads=int(told.get("num_key_value_heads") or heads),
            hidden=int(told["intermediate_size"]),
            base=float(told.get("rope_theta") or positions.get("rope_theta") or 10_000.0),
            epsilon=float(told["rms_norm_eps"]),
        )
        wanted: dict[str, tuple[Any, Any]] = {
            "model_type": (told["model_type"], "llama"),
            "hidden_act": (told.get("hidden_act", "silu"), "silu"),
            "attention_bias": (bool(told.get("attention_bias")), False),
            "mlp_bias": (bool(told.get("mlp_bias")), False),
            "rope type": (scaling.get("rope_type", scaling.get("type", "default")), "default"),
            "head_dim": (told.get("head_dim") or width // heads, width // heads),
        }
    for name, size in sizes._asdict().items():
        if not size > 0 or size == float("inf"):
            raise CorruptData(f"{file}: {name} is {size}; expected a number above 0")
    for name, (found, expected) in wanted.items():
        if found != expected:
            raise CorruptData(f"{file}: {name} is {found!r}; llama_blocks has {expected!r} only")
    return sizes


def llama_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of a folder by their published names, out of one file or of all its parts.

    bfloat16 comes as float32, which holds the same numbers.

    Raises:
        MissingData: when a file is not there.
        CorruptData: when one is damaged, or the index names files elsewhere.
    """
    folder = Path(folder)
    if (folder / WHOLE).is_file():
        return read_safetensors(folder / WHOLE)
    index = folder / INDEX
    if not index.is_file():
        raise MissingData(f"{folder} has neither {WHOLE} nor {INDEX}")
    with parsing(str(index)):
        places: dict[str, str] = dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        parts = sorted({str(name) for name in places.values()})
    arrays: dict[str, np.ndarray] = {}
    for name in parts:
        if Path(name).name != name:
            raise CorruptData(f"{index} names a file outside its folder: {name!r}")
        if not (folder / name).is_file():
            raise MissingData(f"{folder} lacks {name}, a part that {INDEX} names")
        arrays |= read_safetensors(folder / name)
    if lost := sorted(set(places) - set(arrays)):
        raise CorruptData(f"{index} names {lost[0]!r}, which no part holds")
    return arrays
