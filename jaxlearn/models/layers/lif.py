"""Leaky integrate-and-fire neurons as layers: one step at a time, or a whole sequence at once."""

import jax
import jax.numpy as jnp
from flax import linen
from jaxlearn_kernels.lif import Neuron, lif, step

from jaxlearn.core import SEQUENCE

SLTT_NEURON = Neuron(decay=1 - 1 / 1.1, reset="soft", surrogate="triangle", alpha=1.0)
"""The neuron of Meng et al., ICCV 2023: `tau = 1.1`, input not decayed, soft reset, fires at 1."""


class Lif(linen.Module):
    """One step of a layer of neurons: charge, fire, reset (see `jaxlearn_kernels.lif.Neuron`).

    The membrane is a variable of the collection `"sequence"`: it starts at `neuron.v_reset`, is
    handed from step to step by `over_time` and `through_time`, and ends with the sequence. Whether
    gradients run through it is decided there: `over_time` never differentiates it, `through_time`
    does unless the neuron detaches its carry.

    Example:
        >>> layer = Lif(Neuron(decay=0.5))
        >>> spikes, state = layer.apply({}, jnp.array([0.5, 1.5]), mutable=["sequence"])
        >>> spikes.tolist(), state["sequence"]["v"].tolist()
        ([0.0, 1.0], [0.5, 0.5])
    """

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to its spikes `[...]`, in the dtype of `x`."""
        v = membrane(self, x, self.neuron)
        spikes, after, _ = step(v.value, x, self.neuron)
        if not self.is_initializing():
            v.value = after
        return spikes


class LifSequence(linen.Module):
    """The same neurons over all steps at once, for networks that run layer by layer.

    `[T, ...]` to `[T, ...]` through the fused kernel, equal to `T` applications of `Lif`. Layers in
    between need the activations of all steps, so memory grows with `T`; with
    `Neuron(detach_carry=True)` the gradient is SLTT's all the same.

    Example:
        >>> layer = LifSequence(Neuron(decay=0.5))
        >>> spikes, _ = layer.apply({}, jnp.array([[0.6], [0.8]]), mutable=["sequence"])
        >>> spikes[:, 0].tolist()
        [0.0, 1.0]
    """

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to spikes `[T, ...]`, in the dtype of `x`."""
        v = membrane(self, x[0], self.neuron)
        spikes, after = lif(x, v.value, neuron=self.neuron)
        if not self.is_initializing():
            v.value = after
        return spikes


def membrane(layer: linen.Module, x: jax.Array, neuron: Neuron) -> linen.Variable:
    """The membrane of a layer as its variable `"v"`, at rest before the first step."""
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return layer.variable(SEQUENCE, "v", jnp.full, x.shape, neuron.v_reset, dtype)


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """A soft and a hard reset, one step and all steps, for the battery of neurons."""
    soft = Neuron(decay=0.5, detach_carry=detach_carry)
    hard = Neuron(
        decay=0.7, reset="hard", input_decay=True, v_reset=-0.25, detach_carry=detach_carry
    )
    return {
        "lif": (Lif(soft), LifSequence(soft)),
        "lif-hard": (Lif(hard), LifSequence(hard)),
    }
