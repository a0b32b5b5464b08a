"""GPU kernels (Pallas through Triton): one program per tile of neurons, time loop inside.

Neurons do not talk to each other, so programs share nothing and the membrane lives in registers;
the tiles are those of :mod:`jaxlearn_kernels.time_blocks_gpu`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron
from jaxlearn_kernels.time_blocks_gpu import call, here, over_time


def _forward_kernel(x_ref, v0_ref, s_ref, v_ref, *u_ref, neuron: Neuron, time: int, neurons: int):
    own, mask = here(neurons)

    def load(t):
        return plgpu.load(x_ref.at[t, own], mask=mask, other=0.0)

    def step(t, x, v):
        u = recurrence.charge(v, x.astype(v.dtype), neuron)
        s = recurrence.heaviside(u - neuron.threshold, neuron)
        plgpu.store(s_ref.at[t, own], s.astype(s_ref.dtype), mask=mask)
        if u_ref:
            plgpu.store(u_ref[0].at[t, own], u, mask=mask)
        return recurrence.reset(u, s, neuron)

    v0 = plgpu.load(v0_ref.at[own], mask=mask, other=0.0)
    plgpu.store(v_ref.at[own], over_time(time, load, step, v0), mask=mask)


def _backward_kernel(u_ref, gs_ref, gv_ref, gx_ref, gv0_ref, *, neuron, time: int, neurons: int):
    own, mask = here(neurons)

    def load(i):
        at = (time - 1 - i, own)
        return [plgpu.load(ref.at[at], mask=mask, other=0.0) for ref in (u_ref, gs_ref)]

    def step(i, loaded, gv):
        u, gs = loaded
        gx, gv_prev = recurrence.adjoint(u, gs.astype(gv.dtype), gv, neuron)
        plgpu.store(gx_ref.at[time - 1 - i, own], gx.astype(gx_ref.dtype), mask=mask)
        return gv_prev

    gv = plgpu.load(gv_ref.at[own], mask=mask, other=0.0)
    plgpu.store(gv0_ref.at[own], over_time(time, load, step, gv), mask=mask)


@partial(jax.jit, static_argnames=("neuron", "save", "spikes", "interpret"))
def forward(
    x: jax.Array,
    v0: jax.Array,
    neuron: Neuron,
    *,
    save: bool,
    spikes: jnp.dtype,
    interpret: bool = False,
) -> tuple[jax.Array, ...]:
    """``(spikes, v_final)``, and with ``save`` the membranes ``u [T, ...]`` as third."""
    time, neurons = x.shape[0], math.prod(x.shape[1:])
    outputs = [
        jax.ShapeDtypeStruct((time, neurons), spikes),
        jax.ShapeDtypeStruct((neurons,), v0.dtype),
        *([jax.ShapeDtypeStruct((time, neurons), v0.dtype)] if save else []),
    ]
    kernel = partial(_forward_kernel, neuron=neuron, time=time, neurons=neurons)
    inputs = [x.reshape(time, neurons), v0.reshape(neurons)]
    fired, v_final, *u = call(kernel, neurons, inputs, outputs, interpret=interpret)
    return fired.reshape(x.shape), v_final.reshape(v0.shape), *(a.reshape(x.shape) for a in u)


@partial(jax.jit, static_argnames=("neuron", "interpret"))
def backward(
    u: jax.Array, gs: jax.Array, gv: jax.Array, neuron: Neuron, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Cotangents ``(gx [T, ...], gv0 [...])`` from those of spikes and final membrane."""
    time, neurons = u.shape[0], math.prod(u.shape[1:])
    outputs = [
        jax.ShapeDtypeStruct((time, neurons), gs.dtype),
        jax.ShapeDtypeStruct((neurons,), gv.dtype),
    ]
    kernel = partial(_backward_kernel, neuron=neuron, time=time, neurons=neurons)
    inputs = [u.reshape(time, neurons), gs.reshape(time, neurons), gv.reshape(neurons)]
    gx, gv0 = call(kernel, neurons, inputs, outputs, interpret=interpret)
    return gx.reshape(u.shape), gv0.reshape(gv.shape)
