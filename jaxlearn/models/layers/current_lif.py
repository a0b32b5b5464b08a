"""Leaky integrate-and-fire neurons charged by a synaptic current that decays."""

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.models.layers.leaky_integrator import LeakyIntegrator, LeakyIntegratorSequence
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif, LifSequence


class CurrentLif(linen.Module):
    """One step of a leaky current followed by a leaky membrane.

    ::

        i[t] = alpha i[t-1] + x[t]
        u[t] = decay v[t-1] + gain i[t],   then fire and reset as `Lif`

    Attributes:
        neuron: the membrane; `detach_carry` cuts the current's carry too.
        alpha: share of the current that is left after one step.

    Example:
        >>> layer = CurrentLif(Neuron(decay=1.0), alpha=0.5)
        >>> x = jax.numpy.array([0.6])
        >>> first, state = layer.apply({}, x, mutable=["sequence"])
        >>> layer.apply(state, x, mutable=["sequence"])[0].tolist(), first.tolist()
        ([1.0], [0.0])
    """

    neuron: Neuron = SLTT_NEURON
    alpha: float = 0.5

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to its spikes `[...]`, in the dtype of `x`."""
        current = LeakyIntegrator(self.alpha, self.neuron.detach_carry, name="current")(x)
        return Lif(self.neuron, name="membrane")(current)


class CurrentLifSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above."""

    neuron: Neuron = SLTT_NEURON
    alpha: float = 0.5

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to spikes `[T, ...]`, in the dtype of `x`."""
        current = LeakyIntegratorSequence(self.alpha, self.neuron.detach_carry, name="current")(x)
        return LifSequence(self.neuron, name="membrane")(current)


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """One step and all steps, for the battery of neurons."""
    neuron = Neuron(decay=0.6, detach_carry=detach_carry)
    return {"current-lif": (CurrentLif(neuron), CurrentLifSequence(neuron))}
