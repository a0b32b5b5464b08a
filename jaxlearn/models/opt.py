"""Decoders of the OPT family: pre-norm, learned positions, ReLU, biases everywhere.

Zhang et al., "OPT: Open Pre-trained Transformer Language Models", 2022, arXiv 2205.01068.
"""

from collections.abc import Mapping

import jax
import numpy as np
from flax import linen

from jaxlearn.core import Model, PyTree, from_linen, stack
from jaxlearn.models.decoder import NormedLogits
from jaxlearn.models.encoder import Layer

OFFSET = 2
"""Positions count from 2: two rows of their table are never used."""
_SMALL = linen.initializers.normal(0.02)


class OptEmbedding(linen.Module):
    """`token[t_i] + place[i + 2]`."""

    vocabulary: int
    width: int
    longest: int

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map int `[batch, T]` to `[batch, T, width]`."""
        if tokens.shape[1] > self.longest:
            raise ValueError(f"{tokens.shape[1]} tokens, but there are {self.longest} places")
        rows = self.param("token", _SMALL, (self.vocabulary, self.width))
        places = self.param("place", _SMALL, (self.longest + OFFSET, self.width))
        return rows[tokens] + places[OFFSET : OFFSET + tokens.shape[1]]


class ReluDense(linen.Dense):
    """`relu(x W + b)`, with the parameters of a dense layer."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Map `[..., d]` to `[..., features]`."""
        return linen.relu(super().__call__(inputs))


class OptLayer(linen.Module):
    """`x <- x + attention(LN(x))`, then `x <- x + W2 relu(W1 LN(x))`; norms with epsilon 1e-5."""

    heads: int
    hidden: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, width]` to the same shape; tokens see themselves and those before."""
        make = lambda name: ReluDense(self.hidden, name=name)
        options = {"replaced": make, "norm_first": True, "epsilon": 1e-5, "causal": True}
        return Layer(self.heads, self.hidden, name="layer", **options)(x, None)


def opt_blocks(
    vocabulary: int,
    layers: int,
    width: int,
    *,
    longest: int,
    heads: int,
    hidden: int | None = None,
) -> list[Model]:
    """Embedding, layers and logits, on tokens `[batch, T]`; see `tied` for OPT's shared matrix.

    Args:
        vocabulary: how many tokens.
        layers: how many.
        width: of the stream.
        longest: most tokens of a sequence, 2048 in the published models.
        heads: of every attention.
        hidden: units of every perceptron, four times the width by default.

    Example:
        >>> from jaxlearn.models.tied import tied
        >>> model = tied(opt_blocks(11, 2, 8, longest=4, heads=2))
        >>> tokens = jax.numpy.array([[1, 2, 3]])
        >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), tokens)
        >>> params["0"]["place"].shape, jax.eval_shape(model.apply, params, {}, tokens)[0].shape
        ((6, 8), (1, 3, 11))
    """
    layer = from_linen(OptLayer(heads, hidden or 4 * width))
    first = from_linen(OptEmbedding(vocabulary, width, longest))
    return [first, *[layer] * layers, from_linen(NormedLogits(vocabulary, _SMALL))]


_PARTS = {
    "attention/query": "self_attn.q_proj",
    "attention/key": "self_attn.k_proj",
    "attention/value": "self_attn.v_proj",
    "attention/out": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "hidden": "fc1",
    "out": "fc2",
    "ffn_norm": "final_layer_norm",
}


def opt_params(arrays: Mapping[str, np.ndarray], layers: int) -> dict[str, PyTree]:
    """Parameters of `tied(opt_blocks(...))` from the published arrays, by their PyTorch names.

    Args:
        arrays: with or without the prefix `model.`, as of a file that `read_torch` or
            `read_safetensors` gives; matrices are `[outputs, inputs]`.
        layers: of the model.

    Raises:
        ValueError: naming the first array that is missing.
    """

    def get(name: str) -> np.ndarray:
        for whole in (f"model.decoder.{name}", f"decoder.{name}"):
            if whole in arrays:
                return np.asarray(arrays[whole])
        raise ValueError(f"the weights have no array 'decoder.{name}'; are they of an OPT model?")

    def norm(name: str) -> PyTree:
        return {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}

    def dense(name: str) -> PyTree:
        return {"kernel": get(f"{name}.weight").T, "bias": get(f"{name}.bias")}

    def layer(number: int) -> PyTree:
        made: dict[str, PyTree] = {"attention": {}}
        for path, name in _PARTS.items():
            read = norm if name.endswith("layer_norm") else dense
            place = made["attention"] if path.startswith("attention/") else made
            place[path.split("/")[-1]] = read(f"layers.{number}.{name}")
        return {"layer": made}

    params = {"0": {"token": get("embed_tokens.weight"), "place": get("embed_positions.weight")}}
    params |= {str(i + 1): layer(i) for i in range(layers)}
    return params | {str(layers + 1): {"norm": norm("final_layer_norm")}}


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small one, for the battery of models."""
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    return {"opt": (stack(opt_blocks(11, 2, 8, longest=6, heads=2)), tokens)}
