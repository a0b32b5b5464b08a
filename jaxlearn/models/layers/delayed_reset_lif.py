"""Leaky integrate-and-fire neurons whose reset comes one step after the spike.

The convention of snnTorch (Eshraghian et al., "Training Spiking Neural Networks Using Lessons From
Deep Learning", Proceedings of the IEEE 2023, arXiv 2109.12894).
"""

import jax
from flax import linen
from jax import lax
from jaxlearn_kernels.lif import Neuron, fire
from jaxlearn_kernels.lif.recurrence import charge, reset

from jaxlearn.models.layers.lif import SLTT_NEURON, membrane


class DelayedResetLif(linen.Module):
    """One step of a neuron that subtracts the threshold together with the next charge.

    ::

        u[t] = decay u[t-1] + gain x[t] - threshold s[t-1]      reset "soft"
        s[t] = H(u[t] - threshold)

    `Lif` subtracts before the leak, `decay (u[t-1] - threshold s[t-1])`. A hard reset is the same
    in both, as is none. What is carried is `u`, and `s[t-1]` is computed from it.

    `Neuron(strict=True, detach_reset=True)` is snnTorch's `Leaky`; the neuron of spyx fires from
    the stored membrane, before the input: its spikes are those of `Neuron(strict=True)`, one step
    later.

    Example:
        >>> import jax.numpy as jnp
        >>> layer = DelayedResetLif(Neuron(decay=0.5))
        >>> x = jnp.array([1.5])
        >>> _, state = layer.apply({}, x, mutable=["sequence"])
        >>> layer.apply(state, x, mutable=["sequence"])[1]["sequence"]["v"].tolist()
        [1.25]
    """

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to its spikes `[...]`, in the dtype of `x`."""
        u = membrane(self, x, self.neuron)
        after, spikes = _advance(self.neuron, u.value, x)
        if not self.is_initializing():
            u.value = after
        return spikes


class DelayedResetLifSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above."""

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to spikes `[T, ...]`, in the dtype of `x`."""
        u = membrane(self, x[0], self.neuron)
        after, spikes = lax.scan(lambda u, now: _advance(self.neuron, u, now), u.value, x)
        if not self.is_initializing():
            u.value = after
        return spikes


def _advance(neuron: Neuron, u: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    u = lax.stop_gradient(u) if neuron.detach_carry else u
    before = fire(u, neuron)
    before = lax.stop_gradient(before) if neuron.detach_reset else before
    if neuron.reset == "soft":
        u = charge(u, x.astype(u.dtype), neuron) - neuron.threshold * before
    else:
        u = charge(reset(u, before, neuron), x.astype(u.dtype), neuron)
    return u, fire(u, neuron).astype(x.dtype)


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """One step and all steps, for the battery of neurons."""
    neuron = Neuron(decay=0.7, strict=True, surrogate="atan", detach_carry=detach_carry)
    return {"delayed-reset-lif": (DelayedResetLif(neuron), DelayedResetLifSequence(neuron))}
