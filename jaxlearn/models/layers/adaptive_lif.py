"""Leaky integrate-and-fire neurons whose threshold rises with their own spikes.

Bellec, Salaj, Subramoney, Legenstein and Maass, "Long short-term memory and learning-to-learn in
networks of spiking neurons", NeurIPS 2018, arXiv 1803.09574.
"""

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax
from jaxlearn_kernels.lif import Neuron, step

from jaxlearn.core import SEQUENCE
from jaxlearn.models.layers.lif import SLTT_NEURON, membrane


class AdaptiveLif(linen.Module):
    """One step of `Lif` with a threshold of its own for every neuron.

    ::

        a[t] = rho a[t-1] + (1 - rho) s[t-1]
        B[t] = threshold + beta a[t]
        u[t] = decay v[t-1] + gain x[t],   s[t] = H(u[t] - B[t]),   v[t] = u[t] - B[t] s[t]

    (a hard reset goes to `v_reset`). The surrogate is taken at `u - B`, and its gradient reaches
    both. With `a[t] = rho a[t-1] + s[t-1]`, as in later papers of the same group, the same neuron
    has `beta (1 - rho)` in place of beta.

    Attributes:
        neuron: the membrane and the resting threshold; `detach_carry` cuts a's carry too.
        rho: share of a that is left after one step.
        beta: how far the threshold rises.

    Example:
        >>> layer = AdaptiveLif(Neuron(decay=0.0), rho=0.5, beta=2.0)
        >>> run = lambda state: layer.apply(state, jnp.array([1.5]), mutable=["sequence"])
        >>> first, state = run({})
        >>> first.tolist(), run(state)[0].tolist()
        ([1.0], [0.0])
    """

    neuron: Neuron = SLTT_NEURON
    rho: float = 0.9
    beta: float = 1.8

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to its spikes `[...]`, in the dtype of `x`."""
        v, a = _states(self, x)
        carry, spikes = _advance(self, (v.value, a.value), x)
        if not self.is_initializing():
            v.value, a.value = carry
        return spikes


class AdaptiveLifSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above."""

    neuron: Neuron = SLTT_NEURON
    rho: float = 0.9
    beta: float = 1.8

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to spikes `[T, ...]`, in the dtype of `x`."""
        v, a = _states(self, x[0])
        carry, spikes = lax.scan(lambda c, now: _advance(self, c, now), (v.value, a.value), x)
        if not self.is_initializing():
            v.value, a.value = carry
        return spikes


Carry = tuple[jax.Array, jax.Array]
"""Membrane after the reset, and adaptation."""


def _states(layer: linen.Module, x: jax.Array) -> tuple[linen.Variable, linen.Variable]:
    v = membrane(layer, x, layer.neuron)
    return v, layer.variable(SEQUENCE, "a", jnp.zeros, x.shape, v.value.dtype)


def _advance(
    layer: AdaptiveLif | AdaptiveLifSequence, carry: Carry, x: jax.Array
) -> tuple[Carry, jax.Array]:
    v, a = lax.stop_gradient(carry) if layer.neuron.detach_carry else carry
    threshold = layer.neuron.threshold + layer.beta * a
    spikes, v, _ = step(v, x, layer.neuron, threshold=threshold)
    a = layer.rho * a + (1 - layer.rho) * spikes.astype(a.dtype)
    return (v, a), spikes


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """One step and all steps, for the battery of neurons."""
    neuron = Neuron(decay=0.8, detach_carry=detach_carry)
    return {"adaptive-lif": (AdaptiveLif(neuron), AdaptiveLifSequence(neuron))}
