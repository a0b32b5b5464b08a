"""Leaky integrators: neurons that never fire, as readouts and as synaptic currents."""

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxlearn.core import SEQUENCE


class LeakyIntegrator(linen.Module):
    """One step of `v[t] = decay v[t-1] + x[t]`; the output is v.

    The membrane is a variable of the collection `"sequence"` and starts at 0.

    Attributes:
        decay: share of v that is left after one step.
        detach_carry: `v[t-1]` is a constant in the backward pass.

    Example:
        >>> layer = LeakyIntegrator(0.5)
        >>> y, state = layer.apply({}, jnp.ones(1), mutable=["sequence"])
        >>> layer.apply(state, jnp.ones(1), mutable=["sequence"])[0].tolist()
        [1.5]
    """

    decay: float
    detach_carry: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to the membrane `[...]`, in the dtype of `x`."""
        v = _membrane(self, x)
        after = _charge(self, v.value, x)
        if not self.is_initializing():
            v.value = after
        return after.astype(x.dtype)


class LeakyIntegratorSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above.

    Example:
        >>> layer = LeakyIntegratorSequence(0.5)
        >>> layer.apply({}, jnp.ones((3, 1)), mutable=["sequence"])[0].ravel().tolist()
        [1.0, 1.5, 1.75]
    """

    decay: float
    detach_carry: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to membranes `[T, ...]`, in the dtype of `x`."""
        v = _membrane(self, x[0])

        def charge(v: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            v = _charge(self, v, now)
            return v, v.astype(x.dtype)

        after, y = lax.scan(charge, v.value, x)
        if not self.is_initializing():
            v.value = after
        return y


def _membrane(layer: linen.Module, x: jax.Array) -> linen.Variable:
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return layer.variable(SEQUENCE, "v", jnp.zeros, x.shape, dtype)


def _charge(
    layer: LeakyIntegrator | LeakyIntegratorSequence, v: jax.Array, x: jax.Array
) -> jax.Array:
    return layer.decay * (lax.stop_gradient(v) if layer.detach_carry else v) + x


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """One step and all steps, for the battery of neurons."""
    pair = LeakyIntegrator(0.8, detach_carry), LeakyIntegratorSequence(0.8, detach_carry)
    return {"leaky-integrator": pair}
