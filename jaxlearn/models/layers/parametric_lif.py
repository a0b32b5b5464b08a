"""Leaky integrate-and-fire neurons that learn their leak.

Fang, Yu, Chen, Masquelier, Huang and Tian, "Incorporating Learnable Membrane Time Constant to
Enhance Learning of Spiking Neural Networks", ICCV 2021, arXiv 2007.05785.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen
from jaxlearn_kernels.lif import Neuron, lif, step

from jaxlearn.models.layers.lif import SLTT_NEURON, membrane


class ParametricLif(linen.Module):
    """One step of `Lif` with the leak `1/tau = sigmoid(w)`, one w for the layer.

    ::

        u[t] = decay v[t-1] + (1 - decay) v_reset + gain x[t],   decay = 1 - sigmoid(w)

    with `gain = 1 - decay`, learned along, under `input_decay`. The parameter `w`, a scalar, starts
    where the decay is `neuron.decay`: at `-log(tau - 1)`.

    Raises:
        ValueError: when `neuron.decay` is 0 or 1, where w would be infinite.

    Example:
        >>> layer = ParametricLif(Neuron(decay=0.5))
        >>> variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros(2))
        >>> float(variables["params"]["w"])
        0.0
    """

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to its spikes `[...]`, in the dtype of `x`."""
        decay, v = leak(self, self.neuron.decay), membrane(self, x, self.neuron)
        spikes, after, _ = step(v.value, x, self.neuron, decay)
        if not self.is_initializing():
            v.value = after
        return spikes


class ParametricLifSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above."""

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to spikes `[T, ...]`, in the dtype of `x`."""
        decay, v = leak(self, self.neuron.decay), membrane(self, x[0], self.neuron)
        spikes, after = lif(x, v.value, neuron=self.neuron, decay=decay)
        if not self.is_initializing():
            v.value = after
        return spikes


def leak(layer: linen.Module, decay: float) -> jax.Array:
    """The scalar parameter `w` of a layer as `1 - sigmoid(w)`, which starts at `decay`.

    Raises:
        ValueError: when `decay` is not between 0 and 1.
    """
    if not 0.0 < decay < 1.0:
        raise ValueError(f"a learned decay must start between 0 and 1, found {decay}")
    start = math.log(1.0 - decay) - math.log(decay)
    return jax.nn.sigmoid(-layer.param("w", lambda key: jnp.float32(start)))


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """Input that is scaled and that is not, for the battery of neurons."""
    plain = Neuron(decay=0.5, detach_carry=detach_carry)
    scaled = Neuron(decay=0.6, reset="hard", input_decay=True, detach_carry=detach_carry)
    return {
        "parametric-lif": (ParametricLif(plain), ParametricLifSequence(plain)),
        "parametric-lif-scaled": (ParametricLif(scaled), ParametricLifSequence(scaled)),
    }
