"""Synapses that turn spikes into a current which outlasts them."""

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxlearn.core import SEQUENCE
from jaxlearn.models.layers.parametric_lif import leak


class SynapseFilter(linen.Module):
    """One step of a low-pass filter that leaks only while no spike comes.

    ::

        y[t] = y[t-1] - (1 - x[t]) (1 - decay) y[t-1] + x[t]

    so a spike adds 1 and silence leaves `decay y[t-1]`, with `decay = 1 - 1/tau`. (The filter that
    always leaks is `LeakyIntegrator`.)

    Attributes:
        decay: share of the current that a silent step leaves; where it starts, if learned.
        learned: one parameter `w` for the layer, `1/tau = sigmoid(w)`.
        detach_carry: `y[t-1]` is a constant in the backward pass.

    Raises:
        ValueError: when a learned decay starts at 0 or 1.

    Example:
        >>> layer = SynapseFilter(0.5)
        >>> y, state = layer.apply({}, jnp.ones(1), mutable=["sequence"])
        >>> layer.apply(state, jnp.zeros(1), mutable=["sequence"])[0].tolist()
        [0.5]
    """

    decay: float
    learned: bool = False
    detach_carry: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the spikes `[...]` of this step to the current `[...]`, in the dtype of `x`."""
        decay, y = _parts(self, x)
        after = _advance(y.value, x, decay, self.detach_carry)
        if not self.is_initializing():
            y.value = after
        return after.astype(x.dtype)


class SynapseFilterSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above."""

    decay: float
    learned: bool = False
    detach_carry: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map spikes `[T, ...]` to currents `[T, ...]`, in the dtype of `x`."""
        decay, y = _parts(self, x[0])

        def body(y: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = _advance(y, now, decay, self.detach_carry)
            return y, y.astype(x.dtype)

        after, currents = lax.scan(body, y.value, x)
        if not self.is_initializing():
            y.value = after
        return currents


def _parts(
    layer: SynapseFilter | SynapseFilterSequence, x: jax.Array
) -> tuple[jax.Array | float, linen.Variable]:
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    decay = leak(layer, layer.decay) if layer.learned else layer.decay
    return decay, layer.variable(SEQUENCE, "y", jnp.zeros, x.shape, dtype)


def _advance(y: jax.Array, x: jax.Array, decay: jax.Array | float, detach: bool) -> jax.Array:
    y = lax.stop_gradient(y) if detach else y
    return y - (1 - x) * (1 - decay) * y + x


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """A fixed and a learned filter, for the battery of neurons."""
    make = lambda layer, learned: layer(0.7, learned, detach_carry)
    return {
        "synapse-filter": (make(SynapseFilter, False), make(SynapseFilterSequence, False)),
        "synapse-filter-learned": (make(SynapseFilter, True), make(SynapseFilterSequence, True)),
    }
