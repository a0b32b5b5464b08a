"""Published SpikeGPT and RWKV-4 weights as parameters of `models.spikegpt`."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from jaxlearn.core import PyTree

MIXES = {
    "att": (("key", "value", "receptance", "output"), ("k", "v", "r")),
    "ffn": (("key", "value", "receptance"), ("k", "r")),
}
"""Matrices and token mixes of both mixes, by the names of the released code."""


def spikegpt_params(
    arrays: Mapping[str, np.ndarray], layers: int, first: Literal["time", "channel"] = "time"
) -> dict[str, PyTree]:
    """Parameters of `stack(spikegpt_blocks(...))` from arrays by their PyTorch names.

    Files of SpikeGPT's and RWKV-4's training scripts have the same names; for the latter the blocks
    are those with `neuron=None, binary=False`. The norm that opens the lowest block is part of the
    embedding here.

    Args:
        arrays: as `read_torch` or `read_safetensors` gives them; matrices are `[outputs, inputs]`.
        layers: of the model.
        first: as in `Block`; `"channel"` where the lowest block was trained with `ffnPre`.

    Raises:
        ValueError: naming the first array that is missing, or when there are more layers.
    """

    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise ValueError(f"the weights have no array {name!r}; are they of SpikeGPT or RWKV-4?")
        return np.asarray(arrays[name])

    def norm(name: str) -> PyTree:
        return {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}

    def dense(name: str) -> PyTree:
        return {"kernel": get(f"{name}.weight").T}

    def mix(name: str, kind: str) -> PyTree:
        matrices, shares = MIXES[kind]
        made = {matrix: dense(f"{name}.{matrix}") for matrix in matrices}
        made |= {f"mix_{s}": {"mu": get(f"{name}.time_mix_{s}").reshape(-1)} for s in shares}
        if kind == "att":
            made |= {own: get(f"{name}.{own}").reshape(-1) for own in ("time_decay", "time_first")}
        return made

    def block(number: int) -> PyTree:
        name = f"blocks.{number}"
        pre = first == "channel" and number == 0
        return {
            "norm_1": norm(f"{name}.ln1"),
            "mix_1": mix(f"{name}.ffnPre", "ffn") if pre else mix(f"{name}.att", "att"),
            "norm_2": norm(f"{name}.ln2"),
            "mix_2": mix(f"{name}.ffn", "ffn"),
        }

    if f"blocks.{layers}.ln1.weight" in arrays:
        raise ValueError(f"the weights have more than the {layers} layers that were asked for")
    params = {"0": {"embedding": get("emb.weight"), "norm": norm("blocks.0.ln0")}}
    params |= {str(i + 1): block(i) for i in range(layers)}
    return params | {str(layers + 1): {"norm": norm("ln_out"), "head": dense("head")}}
