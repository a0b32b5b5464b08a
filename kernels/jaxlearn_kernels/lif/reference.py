"""The definition: a ``lax.scan`` over single steps, differentiated by JAX itself."""

from functools import partial

import jax

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron


def fire(u: jax.Array, neuron: Neuron, threshold: jax.Array | None = None) -> jax.Array:
    """``H(u - threshold)`` whose derivative is the surrogate.

    ``threshold`` replaces ``neuron.threshold``, with a gradient: minus the surrogate.
    """
    return _spike(u - (neuron.threshold if threshold is None else threshold), neuron)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _spike(z: jax.Array, neuron: Neuron) -> jax.Array:
    return recurrence.heaviside(z, neuron)


@_spike.defjvp
def _spike_jvp(neuron, primals, tangents):
    (z,), (dz,) = primals, tangents
    return _spike(z, neuron), recurrence.slope(z, neuron) * dz


def step(
    v: jax.Array,
    x: jax.Array,
    neuron: Neuron,
    decay: jax.Array | None = None,
    threshold: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One time step of :class:`Neuron`: charge, fire, reset.

    Args:
      v: membrane ``[...]`` after the previous step.
      x: input ``[...]`` of this step.
      neuron: the options.
      decay: optional array that broadcasts to ``[...]`` and replaces ``neuron.decay``; it gets
        a gradient (a parametric LIF).
      threshold: optional array that replaces ``neuron.threshold`` in the same way (a LIF that
        adapts).

    Returns:
      ``(spike, v_next, u)``: the spike in the dtype of x, the membrane after and before the
      reset in float32 (float64 for float64 inputs).

    >>> import jax.numpy as jnp
    >>> spike, v, u = step(jnp.array([0.0, 0.8]), jnp.array([0.5, 1.0]), Neuron(decay=0.5))
    >>> spike.tolist(), u.tolist()
    ([0.0, 1.0], [0.5, 1.399999976158142])
    """
    dtype = recurrence.compute_dtype(x.dtype)
    carry = jax.lax.stop_gradient(v) if neuron.detach_carry else v
    u = recurrence.charge(carry.astype(dtype), x.astype(dtype), neuron, decay)
    s = fire(u, neuron, threshold)
    inside = jax.lax.stop_gradient(s) if neuron.detach_reset else s
    v_next = recurrence.reset(u, inside, neuron, threshold)
    return s.astype(x.dtype), v_next, u


def scan(
    x: jax.Array, v0: jax.Array, neuron: Neuron, decay: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """All time steps: ``x [T, ...]``, ``v0 [...]`` to ``(spikes [T, ...], v_final [...])``."""

    def body(v, x_t):
        spike, v_next, _ = step(v, x_t, neuron, decay)
        return v_next, spike

    v_final, spikes = jax.lax.scan(body, v0, x)
    return spikes, v_final
