"""One time step of the neuron and its adjoint, as plain elementwise arithmetic.

The scans and both Pallas kernels are loops around these functions, so the formulas stand once.
"""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.lif.options import Neuron
from jaxlearn_kernels.lif.surrogates import SURROGATES


def compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of membranes for inputs of ``dtype``: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def charge(v: jax.Array, x: jax.Array, neuron: Neuron, decay: jax.Array | None = None) -> jax.Array:
    """``u = decay v + (1 - decay) v_reset + gain x``; ``decay`` overrides ``neuron.decay``."""
    leak = neuron.decay if decay is None else decay
    drive = (1.0 - leak) * x if neuron.input_decay else x
    u = leak * v + drive
    return u + (1.0 - leak) * neuron.v_reset if neuron.v_reset else u


def heaviside(z: jax.Array, neuron: Neuron) -> jax.Array:
    """``H(z)`` in the dtype of z: 1 where ``z >= 0`` (``z > 0`` when ``strict``), else 0."""
    return (z > 0 if neuron.strict else z >= 0).astype(z.dtype)


def reset(
    u: jax.Array, s: jax.Array, neuron: Neuron, threshold: jax.Array | None = None
) -> jax.Array:
    """The membrane after the spike: soft, hard or no reset; a soft one takes the threshold."""
    if neuron.reset == "soft":
        return u - (neuron.threshold if threshold is None else threshold) * s
    if neuron.reset == "hard":
        return u * (1.0 - s) + neuron.v_reset * s
    return u


def slope(z: jax.Array, neuron: Neuron) -> jax.Array:
    """The surrogate ``ds/du`` at the distance ``z = u - threshold``."""
    return SURROGATES[neuron.surrogate].derivative(z, neuron.scale)


def adjoint(
    u: jax.Array, gs: jax.Array, gv: jax.Array, neuron: Neuron
) -> tuple[jax.Array, jax.Array]:
    """Pull the cotangents of one step's outputs back to its inputs.

    ::

        gu = (gs + gv dv/ds) ds/du + gv dv/du     (gv dv/ds dropped by detach_reset)
        gx = gain gu,   gv_prev = decay gu        (0 under detach_carry)

    Args:
      u: membrane before the spike; the spike is recomputed from it.
      gs: cotangent of the spike.
      gv: cotangent of the membrane after the reset.
      neuron: the options.

    Returns:
      Cotangents of ``x[t]`` and ``v[t-1]``.
    """
    spike_signal, direct = gs, gv
    if neuron.reset == "soft" and not neuron.detach_reset:
        spike_signal = gs - neuron.threshold * gv
    if neuron.reset == "hard":
        direct = gv * (1.0 - heaviside(u - neuron.threshold, neuron))
        if not neuron.detach_reset:
            spike_signal = gs + gv * (neuron.v_reset - u)
    gu = spike_signal * slope(u - neuron.threshold, neuron) + direct
    gx = neuron.gain * gu if neuron.input_decay else gu
    return gx, jnp.zeros_like(gu) if neuron.detach_carry else neuron.decay * gu
