"""Decoder transformers in the manner of GPT: pre-norm, causal attention, learned positions."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen, stack
from jaxlearn.models.encoder import Layer

_SMALL = linen.initializers.normal(0.02)


class TokensAndPlaces(linen.Module):
    """The sum of a learned vector for the token and one for its place."""

    vocabulary: int
    width: int
    longest: int

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map int `[batch, T]` to `[batch, T, width]`."""
        if tokens.shape[1] > self.longest:
            raise ValueError(f"{tokens.shape[1]} tokens, but there are {self.longest} places")
        rows = self.param("token", _SMALL, (self.vocabulary, self.width))
        places = self.param("place", _SMALL, (self.longest, self.width))
        return rows[tokens] + places[: tokens.shape[1]]


class CausalLayer(linen.Module):
    """Attention to the tokens before, then a perceptron, with dropout of their sum."""

    heads: int
    hidden: int
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, width]` to the same shape."""
        layer = Layer(self.heads, self.hidden, norm_first=True, epsilon=1e-5, causal=True)
        return linen.Dropout(self.dropout)(layer(x, None), deterministic=not train)


class NormedLogits(linen.Module):
    """`W LN(x)`.

    Attributes:
        vocabulary: logits.
        kernel_init: how W begins.
    """

    vocabulary: int
    kernel_init: linen.initializers.Initializer = linen.initializers.lecun_normal()

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., width]` to `[..., vocabulary]`."""
        kept = {"use_bias": False, "kernel_init": self.kernel_init}
        head = linen.Dense(self.vocabulary, name="head", **kept)
        return head(linen.LayerNorm(1e-5, name="norm")(x))


def decoder_blocks(
    vocabulary: int,
    layers: int,
    width: int,
    *,
    longest: int,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.0,
) -> list[Model]:
    """Embeddings, layers and logits, on tokens `[batch, T]` with T up to `longest`.

    Args:
        vocabulary: how many tokens.
        layers: how many.
        width: of the stream.
        longest: most tokens of a sequence.
        heads: of every attention.
        hidden: units of every perceptron, four times the width by default.
        dropout: of every layer's sum.

    Example:
        >>> model, tokens = stack(decoder_blocks(11, 2, 8, longest=4)), jax.numpy.array([[1, 2, 3]])
        >>> run = lambda key: model.apply(*model.init(key, tokens), tokens)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (1, 3, 11)
    """
    layer = CausalLayer(heads, hidden or 4 * width, dropout)
    modules = [TokensAndPlaces(vocabulary, width, longest), *[layer] * layers]
    return [from_linen(module) for module in [*modules, NormedLogits(vocabulary)]]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small decoder, for the battery of models."""
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    return {"decoder": (stack(decoder_blocks(11, 2, 8, longest=6)), tokens)}
