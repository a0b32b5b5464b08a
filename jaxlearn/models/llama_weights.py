"""Published Llama weights as parameters of `models.llama`."""

from collections.abc import Mapping

import numpy as np

from jaxlearn.core import PyTree

_PARTS = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def llama_params(
    arrays: Mapping[str, np.ndarray], layers: int, *, heads: int, key_heads: int
) -> dict[str, PyTree]:
    """Parameters of `stack(llama_blocks(...))` from arrays by their names on Hugging Face.

    Without `lm_head.weight` they are those of `tied(llama_blocks(...))`. Published matrices turn
    unit i of a head with unit i + d/2, ours neighbours: rows of queries and keys change places,
    which no score can see.

    Args:
        arrays: as `llama_arrays` gives them; matrices are `[outputs, inputs]`.
        layers: of the model.
        heads: of the queries.
        key_heads: of keys and values.

    Raises:
        ValueError: naming the first array that is missing, or when there are more layers.
    """

    def get(name: str) -> np.ndarray:
        if name not in arrays:
            raise ValueError(f"the weights have no array {name!r}; are they of a Llama?")
        return np.asarray(arrays[name])

    def part(path: str, name: str) -> PyTree:
        array = get(f"{name}.weight")
        if path.endswith("norm"):
            return {"scale": array}
        turned = {"attention/query": heads, "attention/key": key_heads}
        return {"kernel": (neighbours(array, turned[path]) if path in turned else array).T}

    def layer(number: int) -> PyTree:
        made: dict[str, PyTree] = {"attention": {}}
        for path, name in _PARTS.items():
            place = made["attention"] if path.startswith("attention/") else made
            place[path.split("/")[-1]] = part(path, f"model.layers.{number}.{name}")
        return made

    if f"model.layers.{layers}.input_layernorm.weight" in arrays:
        raise ValueError(f"the weights have more than {layers} layers")
    last: dict[str, PyTree] = {"norm": {"scale": get("model.norm.weight")}}
    if "lm_head.weight" in arrays:
        last["head"] = {"kernel": get("lm_head.weight").T}
    params: dict[str, PyTree] = {"0": {"token": get("model.embed_tokens.weight")}}
    return params | {str(i + 1): layer(i) for i in range(layers)} | {str(layers + 1): last}


def neighbours(matrix: np.ndarray, heads: int) -> np.ndarray:
    """Rows `(0, d/2, 1, d/2 + 1, ...)` of every head of a matrix `[heads d, inputs]`.

    Example:
        >>> neighbours(np.arange(4)[:, None], 1).ravel().tolist()
        [0, 2, 1, 3]
    """
    halves = matrix.reshape(heads, 2, -1, matrix.shape[-1])
    return halves.swapaxes(1, 2).reshape(matrix.shape)
