"""Recurrent language models: an embedding, layers of LSTM or GRU over the tokens, logits."""

from typing import Literal

import jax
from flax import linen

from jaxlearn.core import Model, from_linen, stack
from jaxlearn.models.decoder import NormedLogits
from jaxlearn.models.recurrent import CELLS


class RecurrentLayer(linen.Module):
    """A layer of cells from token to token, with dropout of what it says."""

    width: int
    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, features]` to `[batch, T, width]`."""
        y = linen.RNN(CELLS[self.cell](self.width), name="layer")(x)
        return linen.Dropout(self.dropout)(y, deterministic=not train)


def recurrent_lm_blocks(
    vocabulary: int,
    layers: int,
    width: int,
    *,
    cell: Literal["rnn", "gru", "lstm"] = "lstm",
    dropout: float = 0.0,
) -> list[Model]:
    """Embedding, layers and logits, on tokens `[batch, T]`; each call is a sequence of its own.

    Example:
        >>> model, tokens = stack(recurrent_lm_blocks(11, 2, 8)), jax.numpy.array([[1, 2, 3]])
        >>> run = lambda key: model.apply(*model.init(key, tokens), tokens)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (1, 3, 11)
    """
    layer = RecurrentLayer(width, cell, dropout)
    modules = [linen.Embed(vocabulary, width), *[layer] * layers, NormedLogits(vocabulary)]
    return [from_linen(module) for module in modules]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small LSTM, for the battery of models."""
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    return {"recurrent-lm": (stack(recurrent_lm_blocks(11, 1, 8)), tokens)}
