"""SpikeGPT: a language model whose blocks speak in spikes (Zhu et al., TMLR 2024).

RWKV with leaky integrate-and-fire neurons behind every mix. A token is a time step: each neuron
sees one input per token and keeps its membrane along the sequence, so there are no further
simulation steps. Training on whole sequences and streaming token by token are the same function.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron, fire

from jaxlearn.core import Key, Model, Params, PyTree, State, from_linen, stack
from jaxlearn.models.decoder import NormedLogits
from jaxlearn.models.encoder import mean_of_tokens
from jaxlearn.models.rwkv import ChannelMix, Init, Spikes, TimeMix, matrix

NEURON = Neuron(decay=0.5, input_decay=True, reset="hard", surrogate="atan", alpha=2.0)
"""`h = v + (y - v) / 2`, fires at 1, hard reset that is differentiated, slope `1/(1+(pi(h-1))^2)`.
"""
_SIGN = Neuron(threshold=0.0, surrogate="atan", alpha=2.0)
PAD = 0
"""The token that fills up short texts of the classifier."""


class Embedding(linen.Module):
    """`LN(H(E[token]))`: rows of E cut to 0 and 1, then the norm that opens the first block.

    `H(e) = 1` for `e >= 0`; its slope backward is `1 / (1 + (pi e)^2)`.

    Attributes:
        vocabulary: how many tokens.
        width: C.
        binary: cut to 0 and 1.
        scheme: `"torch"`: N(0, 1); `"rwkv"`: an orthogonal matrix times 1e-4.
    """

    vocabulary: int
    width: int
    binary: bool = True
    scheme: Init = "torch"

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map int `[batch, T]` to `[batch, T, C]`."""
        shape = (self.vocabulary, self.width)
        gain = 1e-4 * max(shape) ** 0.5
        begin = linen.initializers.normal(1.0)
        if self.scheme == "rwkv":
            begin = linen.initializers.orthogonal(gain)
        rows = self.param("embedding", begin, shape)[tokens]
        return linen.LayerNorm(1e-5, name="norm")(fire(rows, _SIGN) if self.binary else rows)


class Block(linen.Module):
    """`x + LIF(TimeMix(LN x))`, then the same with `ChannelMix`, then dropout.

    Attributes:
        layer: l, its place from below.
        layers: L.
        neuron: behind both mixes; None is RWKV itself.
        first: what the lowest block does instead of its time mix (`"channel"`: RWKV's `ffnPre`).
        hidden: neurons in the channel mix instead of `relu(.)^2`; none by default.
        dropout: of the sum.
        scheme: how weights begin.
    """

    layer: int
    layers: int
    neuron: Neuron | None = NEURON
    first: Literal["time", "channel"] = "time"
    hidden: Neuron | None = None
    dropout: float = 0.03
    scheme: Init = "torch"

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, C]` to the same shape."""
        place = (self.layer, self.layers, self.scheme)
        if self.first == "channel" and self.layer == 0:
            mix = ChannelMix(*place, self.hidden, name="mix_1")
        else:
            mix = TimeMix(*place, name="mix_1")
        x = x + self._spikes(mix(linen.LayerNorm(1e-5, name="norm_1")(x)), "spikes_1")
        mix = ChannelMix(*place, self.hidden, name="mix_2")
        x = x + self._spikes(mix(linen.LayerNorm(1e-5, name="norm_2")(x)), "spikes_2")
        return linen.Dropout(self.dropout)(x, deterministic=not train)

    def _spikes(self, y: jax.Array, name: str) -> jax.Array:
        return y if self.neuron is None else Spikes(self.neuron, name=name)(y)


def spikegpt_blocks(
    vocabulary: int,
    layers: int,
    width: int,
    *,
    neuron: Neuron | None = NEURON,
    binary: bool = True,
    first: Literal["time", "channel"] = "time",
    hidden: Neuron | None = None,
    dropout: float = 0.03,
    init: Init = "torch",
) -> list[Model]:
    """The embedding, the blocks and the logits, on tokens `[batch, T]`.

    46 million weights: 12 layers, width 512, characters; 216 million: 18 layers, width 768, a
    vocabulary of 50,277.

    Args:
        vocabulary: how many tokens.
        layers: L.
        width: C.
        neuron: of every block; None with `binary=False` is the twin without spikes, RWKV.
        binary: cut the embedding to 0 and 1.
        first: see `Block`.
        hidden: see `Block`.
        dropout: of every block's sum.
        init: PyTorch's defaults (what the authors' script does) or RWKV's own.

    Example:
        >>> from jaxlearn.core import trees
        >>> model = stack(spikegpt_blocks(11, 2, 8))
        >>> tokens = jax.numpy.array([[1, 2, 3]])
        >>> params, state = jax.eval_shape(model.init, jax.random.key(0), tokens)
        >>> jax.eval_shape(model.apply, params, trees.lasting(state), tokens)[0].shape
        (1, 3, 11)
    """
    block = lambda l: Block(l, layers, neuron, first, hidden, dropout, init)
    modules = [Embedding(vocabulary, width, binary, init), *map(block, range(layers))]
    return [
        from_linen(module) for module in [*modules, NormedLogits(vocabulary, matrix(init, 0.5))]
    ]


def text_classifier(body: Sequence[Model], classes: int) -> Model:
    """Logits `W mean(LN(body(tokens))) + b` of whole texts, averaged over tokens that are not 0.

    A text is filled up with zeros on the right: causal blocks do not see them before.

    Args:
        body: embedding and blocks, `spikegpt_blocks(...)[:-1]`; parameters `params["body"]` are
            those of the language model, so that a pretrained one can be put in.
        classes: of texts.
    """
    below, head = stack(body), from_linen(PooledLogits(classes))

    def init(key: Key, tokens: PyTree) -> tuple[Params, State]:
        keys = jax.random.split(key)
        params, state = below.init(keys[0], tokens)
        x, _ = below.apply(params, state, tokens)
        own, _ = head.init(keys[1], (x, tokens != PAD))
        return {"body": params, "head": own}, state

    def apply(params: Params, state: State, tokens: PyTree, *, train: bool = False, key=None):
        x, state = below.apply(params["body"], state, tokens, train=train, key=key)
        return head.apply(params["head"], {}, (x, tokens != PAD))[0], state

    return Model(init, apply)


class PooledLogits(linen.Module):
    """`W mean(LN x) + b` over the tokens of a text."""

    classes: int

    @linen.compact
    def __call__(self, tokens: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Map `(x [batch, T, C], mask [batch, T])` to `[batch, classes]`."""
        x, mask = tokens
        norm = linen.LayerNorm(1e-5, name="norm")
        return linen.Dense(self.classes, name="head")(mean_of_tokens(norm(x), mask))


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Small models on a few tokens, for the battery of models."""
    tokens = jax.random.randint(jax.random.key(0), (3, 6), 1, 11)
    # neurons that fire early: with silent ones what they gate has no gradient
    hidden = replace(NEURON, threshold=0.05)
    blocks = spikegpt_blocks(11, 2, 8, hidden=hidden, first="channel")
    twin = spikegpt_blocks(11, 2, 8, neuron=None, binary=False)
    return {
        "spikegpt": (stack(blocks), tokens),
        "rwkv": (stack(twin), tokens),
        "spikegpt-classifier": (text_classifier(blocks[:-1], 3), tokens),
    }
