"""Scans with the kernels' contract, for platforms without a kernel.

The backward pass is the written-out recurrence over the saved membranes ``u``: one residual per
element, where differentiating the reference scan keeps up to three (hard reset).
"""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron


def forward(
    x: jax.Array, v0: jax.Array, neuron: Neuron, *, save: bool, spikes: jnp.dtype
) -> tuple[jax.Array, ...]:
    """``(spikes, v_final)``, and with ``save`` the membranes ``u [T, ...]`` as third."""

    def body(v, x_t):
        u = recurrence.charge(v, x_t.astype(v.dtype), neuron)
        s = recurrence.heaviside(u - neuron.threshold, neuron)
        return recurrence.reset(u, s, neuron), (s.astype(spikes), *([u] if save else []))

    v_final, (fired, *u) = jax.lax.scan(body, v0, x)
    return fired, v_final, *u


def backward(
    u: jax.Array, gs: jax.Array, gv: jax.Array, neuron: Neuron
) -> tuple[jax.Array, jax.Array]:
    """Cotangents ``(gx [T, ...], gv0 [...])`` from those of spikes and final membrane."""

    def body(gv, inputs):
        u_t, gs_t = inputs
        gx, gv_prev = recurrence.adjoint(u_t, gs_t.astype(gv.dtype), gv, neuron)
        return gv_prev, gx.astype(gs.dtype)

    gv0, gx = jax.lax.scan(body, gv, (u, gs), reverse=True)
    return gx, gv0
