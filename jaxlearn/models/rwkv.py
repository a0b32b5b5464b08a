"""RWKV's two mixes (Peng et al., EMNLP Findings 2023), as version 4 and SpikeGPT use them.

Sequences are `[batch, T, C]`. What a sequence leaves behind (last token, sums of the WKV
recurrence) is in the collection `"sequence"`: the same modules train on whole sequences and stream
token by token, for any number of sequences at once.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen
from jaxlearn_kernels.lif import Neuron
from jaxlearn_kernels.wkv import start, wkv

from jaxlearn.core import SEQUENCE
from jaxlearn.models.layers.lif import LifSequence
from jaxlearn.models.layers.token_shift import TokenShift

Init = Literal["torch", "rwkv"]
"""How weights begin: PyTorch's defaults, or RWKV's orthogonal and zero matrices."""

uniform = linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""`U(-1/sqrt(fan_in), 1/sqrt(fan_in))`, PyTorch's default for linear layers."""


def orthogonal(factor: float = 1.0) -> linen.initializers.Initializer:
    """An orthogonal matrix times `factor max(1, sqrt(outputs / inputs))`; 0 gives zeros."""

    def init(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
        gain = factor * max(1.0, (shape[1] / shape[0]) ** 0.5)
        if gain == 0:
            return jnp.zeros(shape, dtype)
        return linen.initializers.orthogonal(gain)(key, shape, dtype)

    return init


def matrix(init: Init, factor: float = 1.0) -> linen.initializers.Initializer:
    """How a matrix begins; `factor` scales RWKV's orthogonal one."""
    return uniform if init == "torch" else orthogonal(factor)


def linear(features: int, name: str, init: Init, factor: float = 1.0) -> linen.Dense:
    """A linear map without bias."""
    return linen.Dense(features, use_bias=False, kernel_init=matrix(init, factor), name=name)


def ratios(layer: int, layers: int) -> tuple[float, float]:
    """`(l / (L-1), 1 - l / L)`: how deep a layer is, for what its channels begin with."""
    return layer / max(layers - 1, 1), 1 - layer / layers


class Mixed(linen.Module):
    """`x mu + xx (1 - mu)` with a learned `mu [C]` that begins at `(h / C)^power + offset`."""

    power: float
    offset: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, xx: jax.Array) -> jax.Array:
        """Mix this token and the one before, both `[..., C]`."""
        C = x.shape[-1]
        begin = lambda key: (jnp.arange(C) / C) ** self.power + self.offset
        mu = self.param("mu", begin)
        return x * mu + xx * (1 - mu)


class TimeMix(linen.Module):
    """`W_o (sigmoid(W_r xr) * wkv(W_k xk, W_v xv))`.

    `wkv` averages the values so far with weights that decay by `w = -exp(time_decay)` per token
    and favour the current one by `u = time_first`, see `jaxlearn_kernels.wkv`. Channel h of C
    begins with `time_decay = -5 + 8 (h/(C-1))^(0.7 + 1.3 l/(L-1))` and
    `time_first = log 0.3 + ((h+1) mod 3 - 1) / 2`.

    Attributes:
        layer: l, its place from below.
        layers: L.
        scheme: how weights begin.
    """

    layer: int
    layers: int
    scheme: Init = "torch"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, C]` to the same shape."""
        C, (deep, shallow) = x.shape[-1], ratios(self.layer, self.layers)
        h = jnp.arange(C)
        slow = lambda key: -5 + 8 * (h / max(C - 1, 1)) ** (0.7 + 1.3 * deep)
        favour = lambda key: jnp.log(0.3) + 0.5 * ((h + 1) % 3 - 1)
        w, u = -jnp.exp(self.param("time_decay", slow)), self.param("time_first", favour)

        xx = TokenShift()(x)
        k = linear(C, "key", self.scheme, 0.0)(Mixed(shallow, name="mix_k")(x, xx))
        v = linear(C, "value", self.scheme)(Mixed(shallow, 0.3 * deep, name="mix_v")(x, xx))
        r = linear(C, "receptance", self.scheme, 0.0)(Mixed(shallow / 2, name="mix_r")(x, xx))

        sums = self.variable(SEQUENCE, "wkv", start, (x.shape[0], C))
        y, after = wkv(jnp.moveaxis(k, 1, 0), jnp.moveaxis(v, 1, 0), w, u, sums.value)
        if not self.is_initializing():
            sums.value = after
        return linear(C, "output", self.scheme, 0.0)(jax.nn.sigmoid(r) * jnp.moveaxis(y, 0, 1))


class ChannelMix(linen.Module):
    """`sigmoid(W_r xr) * (W_v relu(W_k xk)^2)`, four times as wide within.

    Attributes:
        layer: l, its place from below.
        layers: L.
        scheme: how weights begin.
        neuron: spikes of these neurons stand in for `relu(.)^2`; none by default.
    """

    layer: int
    layers: int
    scheme: Init = "torch"
    neuron: Neuron | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, C]` to the same shape."""
        C, power = x.shape[-1], ratios(self.layer, self.layers)[1]
        xx = TokenShift()(x)
        xk, xr = Mixed(power, name="mix_k")(x, xx), Mixed(power, name="mix_r")(x, xx)
        k = linear(4 * C, "key", self.scheme)(xk)
        k = jnp.square(jax.nn.relu(k)) if self.neuron is None else Spikes(self.neuron)(k)
        r = linear(C, "receptance", self.scheme, 0.0)(xr)
        return jax.nn.sigmoid(r) * linear(C, "value", self.scheme, 0.0)(k)


class Spikes(linen.Module):
    """Neurons along the tokens of `[batch, T, C]`: a token is a time step."""

    neuron: Neuron

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map currents to spikes, both `[batch, T, C]`."""
        return jnp.moveaxis(LifSequence(self.neuron)(jnp.moveaxis(x, 1, 0)), 0, 1)
