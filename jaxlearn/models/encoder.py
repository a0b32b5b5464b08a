"""Transformer encoders with places for adapters and for other hidden layers.

Post-norm as in BERT (Devlin et al., 2019) for text, pre-norm as in ViT (Dosovitskiy et al., 2021)
for images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.adapters import no_adapter
from jaxlearn.models.layers.gelu import gelu

Part = Callable[[str], linen.Module]
"""Makes a module of the given name: `lambda name: SNNKAdapter(features, name=name)`."""
Pair = tuple[jax.Array, jax.Array | None]


class SelfAttention(linen.Module):
    """Multi-head scaled dot-product attention of tokens to tokens.

    Attributes:
        heads: they have to divide the width.
        causal: tokens see only themselves and those before.
    """

    heads: int
    causal: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Map `[batch, tokens, d]`; tokens where `mask [batch, tokens]` is false are not seen."""
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {width}")
        split = lambda y: y.reshape(*y.shape[:-1], self.heads, width // self.heads)
        q, k, v = (split(linen.Dense(width, name=n)(x)) for n in ("query", "key", "value"))
        seen = None if mask is None else mask[:, None, None, :]
        y = jax.nn.dot_product_attention(q, k, v, mask=seen, is_causal=self.causal)
        return linen.Dense(width, name="out")(y.reshape(x.shape))


class Layer(linen.Module):
    """Attention and a two-layer perceptron, each with its residual and its norm.

    Attributes:
        heads: of the attention.
        hidden: units of the perceptron.
        adapter: makes what follows each of the two, before the residual is added.
        replaced: makes the hidden layer, activation included, in place of `gelu(W x + b)`.
        norm_first: normalise what goes in (ViT) rather than the sum (BERT).
        epsilon: of the norms.
        causal: tokens see only themselves and those before.
    """

    heads: int
    hidden: int
    adapter: Part | None = None
    replaced: Part | None = None
    norm_first: bool = False
    epsilon: float = 1e-12
    causal: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """Map `[batch, tokens, d]`."""

        def with_residual(part: str, compute: Callable[[jax.Array], jax.Array]) -> jax.Array:
            norm = linen.LayerNorm(self.epsilon, name=f"{part}_norm")
            adapt = self.adapter(f"adapter_{part}") if self.adapter else no_adapter
            y = adapt(compute(norm(x) if self.norm_first else x))
            return x + y if self.norm_first else norm(x + y)

        attention = SelfAttention(self.heads, self.causal, name="attention")
        x = with_residual("attention", lambda y: attention(y, mask))
        return with_residual("ffn", self._perceptron)

    def _perceptron(self, x: jax.Array) -> jax.Array:
        if self.replaced is None:
            y = gelu(linen.Dense(self.hidden, name="hidden")(x))
        else:
            y = self.replaced("hidden")(x)
        return linen.Dense(x.shape[-1], name="out")(y)


class Encoder(linen.Module):
    """Layers on `[batch, tokens, d]`, named `layer_0`, `layer_1`, ...

    Attributes:
        layers: how many.
        heads: of every attention.
        hidden: units of every perceptron.
        adapter: makes the adapters.
        adapted: so many layers from the top have adapters; all by default.
        replaced: makes the hidden layers of the top.
        uptrained: so many layers from the top have them.
        norm_first: ViT's order, with a norm at the end.
        epsilon: of the norms.
        first: the number of the lowest layer, where only the top of a network is built.
    """

    layers: int
    heads: int
    hidden: int
    adapter: Part | None = None
    adapted: int | None = None
    replaced: Part | None = None
    uptrained: int = 0
    norm_first: bool = False
    epsilon: float = 1e-12
    first: int = 0

    @linen.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Map `[batch, tokens, d]`; `mask [batch, tokens]` is true where there is a token."""
        for number in range(self.layers):
            above = self.layers - number
            adapt = self.adapted is None or above <= self.adapted
            x = Layer(
                self.heads,
                self.hidden,
                self.adapter if adapt else None,
                self.replaced if above <= self.uptrained else None,
                self.norm_first,
                self.epsilon,
                name=f"layer_{self.first + number}",
            )(x, mask)
        return linen.LayerNorm(self.epsilon, name="norm")(x) if self.norm_first else x


class TextEmbedding(linen.Module):
    """Word and position embeddings of token numbers; 0 is padding.

    Attributes:
        vocabulary: how many words.
        width: `d`.
        longest: most tokens of a text.
    """

    vocabulary: int
    width: int
    longest: int = 512

    @linen.compact
    def __call__(self, ids: jax.Array) -> Pair:
        """Map int `[batch, tokens]` to `[batch, tokens, d]` and the mask of tokens."""
        small = linen.initializers.normal(0.02)
        words = self.param("word", small, (self.vocabulary, self.width))
        places = self.param("position", small, (self.longest, self.width))
        return linen.LayerNorm(1e-12, name="norm")(words[ids] + places[: ids.shape[1]]), ids != 0


class PatchEmbedding(linen.Module):
    """Linear embeddings of square patches, and of their positions.

    Attributes:
        size: of a patch; it has to divide the image.
        width: `d`.
    """

    size: int
    width: int

    @linen.compact
    def __call__(self, images: jax.Array) -> Pair:
        """Map `[batch, height, width, channels]` to `[batch, patches, d]`; all are tokens."""
        n, h, w, c = images.shape
        if h % self.size or w % self.size:
            raise ValueError(f"patches of {self.size} do not divide images of {h} x {w}")
        rows, columns = h // self.size, w // self.size
        cut = images.reshape(n, rows, self.size, columns, self.size, c).swapaxes(2, 3)
        x = linen.Dense(self.width, name="patch")(cut.reshape(n, rows * columns, -1))
        shape = (rows * columns, self.width)
        return x + self.param("position", linen.initializers.normal(0.02), shape), None


class Classifier(linen.Module):
    """`W pooler(mean over tokens of encoder(embed(inputs))) + c`.

    Attributes:
        encoder: on `[batch, tokens, d]`.
        classes: logits.
        embed: from inputs to `(x, mask)`; by default inputs are `{"x": ..., "mask": ...}`, the
            output of layers below that are not part of this network.
        pooler: makes a layer between the mean and the logits: `Pooler`, or an SNNK layer in place
            of it; none by default.
    """

    encoder: Encoder
    classes: int
    embed: linen.Module | None = None
    pooler: Part | None = None

    @linen.compact
    def __call__(self, inputs) -> jax.Array:
        """Map inputs to logits `[batch, classes]`."""
        x, mask = (inputs["x"], inputs["mask"]) if self.embed is None else self.embed(inputs)
        y = self.encoder(x, mask)
        pooled = y.mean(1) if mask is None else mean_of_tokens(y, mask)
        pooled = pooled if self.pooler is None else self.pooler("pooler")(pooled)
        return linen.Dense(self.classes, name="classifier")(pooled)


class Pooler(linen.Dense):
    """BERT's pooler `tanh(W x + b)`, with the parameters of a dense layer."""

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Map `[..., d]` to `[..., features]`."""
        return jnp.tanh(super().__call__(inputs))


def mean_of_tokens(y: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of `y [batch, tokens, d]` over the tokens where `mask [batch, tokens]` is true."""
    weight = mask[..., None].astype(y.dtype)
    return (weight * y).sum(1) / jnp.maximum(weight.sum(1), 1)


def vision_transformer(
    classes: int,
    *,
    patch: int,
    width: int,
    layers: int,
    heads: int,
    hidden: int,
    adapter: Part | None = None,
    replaced: Part | None = None,
    uptrained: int = 0,
    pooler: Part | None = None,
) -> Model:
    """A ViT that averages its tokens, as a model.

    Example:
        >>> model = vision_transformer(10, patch=4, width=8, layers=2, heads=2, hidden=16)
        >>> images = jnp.zeros((3, 8, 8, 1))
        >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> jax.eval_shape(model.apply, params, {}, images)[0].shape
        (3, 10)
    """
    encoder = Encoder(
        layers,
        heads,
        hidden,
        adapter=adapter,
        replaced=replaced,
        uptrained=uptrained,
        norm_first=True,
        epsilon=1e-6,
    )
    return from_linen(Classifier(encoder, classes, PatchEmbedding(patch, width), pooler))


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small ViT with one layer."""
    model = vision_transformer(3, patch=2, width=8, layers=1, heads=2, hidden=8)
    return {"vit": (model, jax.random.normal(jax.random.key(0), (4, 4, 4, 1)))}
