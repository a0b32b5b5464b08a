"""Leaky integrators: neurons that never fire, as readouts of spiking networks."""

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxlearn.core import SEQUENCE


class LeakyIntegrator(linen.Module):
    """One step of `v[t] = decay v[t-1] + x[t]`; the output is v.

    The membrane is a variable of the collection `"sequence"` and starts at 0.

    Example:
        >>> layer = LeakyIntegrator(0.5)
        >>> y, state = layer.apply({}, jnp.ones(1), mutable=["sequence"])
        >>> layer.apply(state, jnp.ones(1), mutable=["sequence"])[0].tolist()
        [1.5]
    """

    decay: float

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map the input `[...]` of this step to the membrane `[...]`."""
        v = self.variable(SEQUENCE, "v", jnp.zeros, x.shape, x.dtype)
        after = self.decay * v.value + x
        if not self.is_initializing():
            v.value = after
        return after


class LeakyIntegratorSequence(linen.Module):
    """All steps at once: `[T, ...]` to `[T, ...]`, equal to `T` applications of the above.

    Example:
        >>> layer = LeakyIntegratorSequence(0.5)
        >>> layer.apply({}, jnp.ones((3, 1)), mutable=["sequence"])[0].ravel().tolist()
        [1.0, 1.5, 1.75]
    """

    decay: float

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[T, ...]` to membranes `[T, ...]`."""
        v = self.variable(SEQUENCE, "v", jnp.zeros, x.shape[1:], x.dtype)

        def charge(v: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
            v = self.decay * v + now
            return v, v

        after, y = lax.scan(charge, v.value, x)
        if not self.is_initializing():
            v.value = after
        return y
