"""GPU kernels (Pallas through Triton): one program per tile of neurons, time loop inside.

Neurons do not talk to each other, so programs share nothing and the membrane lives in registers.
The features are one flat axis; the last tile is masked.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron

SMALL_TILE, LARGE_TILE = 128, 512
LARGE = 2**18  # neurons from which on wide tiles (16-byte loads) still fill the device


def tile(neurons: int) -> int:
    """Neurons per program: one per thread while programs are few, four when they abound."""
    return LARGE_TILE if neurons >= LARGE else SMALL_TILE


def _here(ref, neurons: int):
    """This program's neurons: a slice of the flat axis, and which of them exist."""
    width = tile(neurons)
    start = pl.program_id(0) * width
    mask = start + jnp.arange(width, dtype=jnp.int32) < neurons
    return pl.ds(start, width), mask


def _forward_kernel(x_ref, v0_ref, s_ref, v_ref, *u_ref, neuron: Neuron, time: int, neurons: int):
    here, mask = _here(x_ref, neurons)

    def body(t, v):
        x = plgpu.load(x_ref.at[t, here], mask=mask, other=0.0)
        u = recurrence.charge(v, x.astype(v.dtype), neuron)
        s = recurrence.heaviside(u - neuron.threshold, neuron)
        plgpu.store(s_ref.at[t, here], s.astype(s_ref.dtype), mask=mask)
        if u_ref:
            plgpu.store(u_ref[0].at[t, here], u, mask=mask)
        return recurrence.reset(u, s, neuron)

    v0 = plgpu.load(v0_ref.at[here], mask=mask, other=0.0)
    plgpu.store(v_ref.at[here], jax.lax.fori_loop(0, time, body, v0), mask=mask)


def _backward_kernel(u_ref, gs_ref, gv_ref, gx_ref, gv0_ref, *, neuron, time: int, neurons: int):
    here, mask = _here(u_ref, neurons)

    def body(i, gv):
        t = time - 1 - i
        u = plgpu.load(u_ref.at[t, here], mask=mask, other=0.0)
        gs = plgpu.load(gs_ref.at[t, here], mask=mask, other=0.0).astype(gv.dtype)
        gx, gv_prev = recurrence.adjoint(u, gs, gv, neuron)
        plgpu.store(gx_ref.at[t, here], gx.astype(gx_ref.dtype), mask=mask)
        return gv_prev

    gv = plgpu.load(gv_ref.at[here], mask=mask, other=0.0)
    plgpu.store(gv0_ref.at[here], jax.lax.fori_loop(0, time, body, gv), mask=mask)


def _call(kernel, neurons: int, inputs, outputs, *, interpret: bool):
    return pl.pallas_call(
        kernel,
        out_shape=outputs,
        grid=(pl.cdiv(neurons, tile(neurons)),),
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
    )(*inputs)


@partial(jax.jit, static_argnames=("neuron", "save", "interpret"))
def forward(
    x: jax.Array, v0: jax.Array, neuron: Neuron, *, save: bool, interpret: bool = False
) -> tuple[jax.Array, ...]:
    """``(spikes, v_final)``, and with ``save`` the membranes ``u [T, ...]`` as third."""
    time, neurons = x.shape[0], math.prod(x.shape[1:])
    outputs = [
        jax.ShapeDtypeStruct((time, neurons), x.dtype),
        jax.ShapeDtypeStruct((neurons,), v0.dtype),
        *([jax.ShapeDtypeStruct((time, neurons), v0.dtype)] if save else []),
    ]
    kernel = partial(_forward_kernel, neuron=neuron, time=time, neurons=neurons)
    inputs = [x.reshape(time, neurons), v0.reshape(neurons)]
    spikes, v_final, *u = _call(kernel, neurons, inputs, outputs, interpret=interpret)
    return spikes.reshape(x.shape), v_final.reshape(v0.shape), *(a.reshape(x.shape) for a in u)


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
    gx, gv0 = _call(kernel, neurons, inputs, outputs, interpret=interpret)
    return gx.reshape(u.shape), gv0.reshape(gv.shape)
