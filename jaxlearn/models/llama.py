"""Decoders of the Llama family: RMS norms, rotary positions, grouped queries, SwiGLU, no biases.

Touvron et al., "Llama 2", 2023, arXiv 2307.09288.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxlearn.core import Model, Params, from_linen, stack

_SMALL = linen.initializers.normal(0.02)


class Tokens(linen.Module):
    """`token[t_i]`."""

    vocabulary: int
    width: int

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map int `[batch, T]` to `[batch, T, width]`."""
        return self.param("token", _SMALL, (self.vocabulary, self.width))[tokens]


def rotated(x: jax.Array, base: float = 10_000.0) -> jax.Array:
    """Rotary positions (Su et al., RoFormer): pairs `(x_2i, x_2i+1)` turned by `t base^(-2i/d)`.

    Args:
        x: `[batch, T, heads, d]`, d even.
        base: of the wavelengths.

    Example:
        >>> turned = rotated(jnp.array([[[[1.0, 0.0]], [[1.0, 0.0]]]]))[0, :, 0]
        >>> bool(jnp.allclose(turned, jnp.array([[1.0, 0.0], [0.5403, 0.8415]]), atol=1e-4))
        True
    """
    d, time = x.shape[-1], jnp.arange(x.shape[1])
    angle = time[:, None] * base ** (-jnp.arange(0, d, 2) / d)
    cos, sin = (f(angle)[None, :, None].astype(x.dtype) for f in (jnp.cos, jnp.sin))
    even, odd = x[..., ::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


class GroupedAttention(linen.Module):
    """Causal attention with rotary positions, `heads / key_heads` queries to each key and value."""

    heads: int
    key_heads: int
    base: float = 10_000.0

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, width]` to the same shape."""
        width = x.shape[-1]
        if width % self.heads or self.heads % self.key_heads:
            raise ValueError(
                f"{self.heads} heads have to divide the width {width}, and {self.key_heads} heads "
                "of keys have to divide them"
            )
        d = width // self.heads

        def heads(name: str, count: int) -> jax.Array:
            y = linen.Dense(count * d, use_bias=False, name=name)(x)
            return y.reshape(*x.shape[:2], count, d)

        q = rotated(heads("query", self.heads), self.base)
        k = rotated(heads("key", self.key_heads), self.base)
        y = jax.nn.dot_product_attention(q, k, heads("value", self.key_heads), is_causal=True)
        return linen.Dense(width, use_bias=False, name="out")(y.reshape(x.shape))


class LlamaLayer(linen.Module):
    """`x <- x + attention(norm(x))`, then `x <- x + W2 (silu(W1 norm(x)) * W3 norm(x))`."""

    heads: int
    key_heads: int
    hidden: int
    base: float = 10_000.0
    epsilon: float = 1e-5

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, width]` to the same shape."""
        norm = lambda name: linen.RMSNorm(self.epsilon, name=name)
        dense = lambda size, name: linen.Dense(size, use_bias=False, name=name)
        attention = GroupedAttention(self.heads, self.key_heads, self.base, name="attention")
        x = x + attention(norm("attention_norm")(x))
        y = norm("ffn_norm")(x)
        gated = linen.silu(dense(self.hidden, "gate")(y)) * dense(self.hidden, "up")(y)
        return x + dense(x.shape[-1], "down")(gated)


class RmsLogits(linen.Module):
    """`W norm(x)`."""

    vocabulary: int
    epsilon: float = 1e-5

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., width]` to `[..., vocabulary]`."""
        x = linen.RMSNorm(self.epsilon, name="norm")(x)
        head = linen.Dense(self.vocabulary, use_bias=False, kernel_init=_SMALL, name="head")
        return head(x)


def llama_blocks(
    vocabulary: int,
    layers: int,
    width: int,
    *,
    heads: int,
    key_heads: int,
    hidden: int,
    base: float = 10_000.0,
    epsilon: float = 1e-5,
) -> list[Model]:
    """Embedding, layers and logits, on tokens `[batch, T]` of any length; see `tied`.

    Args:
        vocabulary: how many tokens.
        layers: how many.
        width: of the stream.
        heads: of the queries.
        key_heads: of keys and values.
        hidden: units of every perceptron.
        base: of the wavelengths of rotary positions.
        epsilon: of the norms.
    """
    layer = from_linen(LlamaLayer(heads, key_heads, hidden, base, epsilon))
    first = from_linen(Tokens(vocabulary, width))
    return [first, *[layer] * layers, from_linen(RmsLogits(vocabulary, epsilon))]


_PARTS = {
    "wq": ("attention", "query"),
    "wk": ("attention", "key"),
    "wv": ("attention", "value"),
    "wo": ("attention", "out"),
    "w1": ("gate",),
    "w2": ("down",),
    "w3": ("up",),
}


def from_llama2c(arrays: Mapping[str, np.ndarray]) -> Params:
    """Parameters of `tied(llama_blocks(...))`, or untied, from the arrays of `read_llama2c`.

    Raises:
        ValueError: naming an array that is missing.

    Example:
        >>> from_llama2c({})
        Traceback (most recent call last):
            ...
        ValueError: the weights have no array 'token'; are they those of read_llama2c?
    """

    def get(name: str) -> jax.Array:
        if name not in arrays:
            raise ValueError(f"the weights have no array {name!r}; are they those of read_llama2c?")
        return jnp.asarray(arrays[name])

    def layer(i: int) -> Params:
        made: Params = {"attention": {}}
        for name, path in _PARTS.items():
            place = made if len(path) == 1 else made[path[0]]
            place[path[-1]] = {"kernel": get(name)[i].T}
        for name in ("attention_norm", "ffn_norm"):
            made[name] = {"scale": get(name)[i]}
        return made

    params = {"0": {"token": get("token")}}
    layers = len(get("wq"))
    params |= {str(i + 1): layer(i) for i in range(layers)}
    last: Params = {"norm": {"scale": get("norm")}}
    if "head" in arrays:
        last["head"] = {"kernel": get("head").T}
    return params | {str(layers + 1): last}


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small one with two queries to a key, for the battery of models."""
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 0, 11)
    blocks = llama_blocks(11, 2, 8, heads=4, key_heads=2, hidden=12)
    return {"llama": (stack(blocks), tokens)}
