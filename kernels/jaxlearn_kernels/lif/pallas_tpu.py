"""TPU kernels: the time loop runs inside the kernel and the membrane never leaves VMEM.

The blocks are those of :mod:`jaxlearn_kernels.time_blocks_tpu`: the final membrane's block serves
as the carry while the chunks of one tile pass.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from jaxlearn_kernels.lif import recurrence
from jaxlearn_kernels.lif.options import Neuron
from jaxlearn_kernels.time_blocks_tpu import Work, call, fold, plan, steps, unfold

TILE = 8192  # elements: eight float32 registers, enough independent work per step
WORK = Work(flops=10, transcendentals=0)


def _forward_kernel(x_ref, v0_ref, s_ref, v_ref, *u_ref, neuron: Neuron, chunk: int, time: int):
    index = pl.program_id(3)

    @pl.when(index == 0)
    def _():
        v_ref[...] = v0_ref[...]

    def body(t, v):
        u = recurrence.charge(v, x_ref[t].astype(v.dtype), neuron)
        s = recurrence.heaviside(u - neuron.threshold, neuron)
        s_ref[t] = s.astype(s_ref.dtype)
        if u_ref:
            u_ref[0][t] = u
        return recurrence.reset(u, s, neuron)

    v_ref[...] = jax.lax.fori_loop(0, steps(index, chunk, time), body, v_ref[...])


def _backward_kernel(u_ref, gs_ref, gv_ref, gx_ref, gv0_ref, *, neuron, chunk: int, time: int):
    index = pl.program_id(3)
    here = steps(pl.num_programs(3) - 1 - index, chunk, time)

    @pl.when(index == 0)
    def _():
        gv0_ref[...] = gv_ref[...]

    def body(i, gv):
        t = here - 1 - i
        gx, gv_prev = recurrence.adjoint(u_ref[t], gs_ref[t].astype(gv.dtype), gv, neuron)
        gx_ref[t] = gx.astype(gx_ref.dtype)
        return gv_prev

    gv0_ref[...] = jax.lax.fori_loop(0, here, body, gv0_ref[...])


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
    time, *features = x.shape
    width = x.dtype.itemsize + spikes.itemsize + (v0.dtype.itemsize if save else 0)
    cut = plan(time, tuple(features), width, TILE)
    folded = (time, *cut.folded)
    outputs = [
        jax.ShapeDtypeStruct(folded, spikes),
        jax.ShapeDtypeStruct(folded[1:], v0.dtype),
        *([jax.ShapeDtypeStruct(folded, v0.dtype)] if save else []),
    ]
    kernel = partial(_forward_kernel, neuron=neuron, chunk=cut.chunk, time=time)
    inputs = [fold(x, cut, 1), fold(v0, cut, 0)]
    options = {"work": WORK, "reverse": False, "interpret": interpret}
    results = call(kernel, cut, time, inputs, outputs, **options)
    return tuple(unfold(a, cut, tuple(features)) for a in results)


@partial(jax.jit, static_argnames=("neuron", "interpret"))
def backward(
    u: jax.Array, gs: jax.Array, gv: jax.Array, neuron: Neuron, *, interpret: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Cotangents ``(gx [T, ...], gv0 [...])`` from those of spikes and final membrane."""
    time, *features = u.shape
    cut = plan(time, tuple(features), u.dtype.itemsize + 2 * gs.dtype.itemsize, TILE)
    folded = (time, *cut.folded)
    outputs = [
        jax.ShapeDtypeStruct(folded, gs.dtype),
        jax.ShapeDtypeStruct(folded[1:], gv.dtype),
    ]
    kernel = partial(_backward_kernel, neuron=neuron, chunk=cut.chunk, time=time)
    inputs = [fold(u, cut, 1), fold(gs, cut, 1), fold(gv, cut, 0)]
    options = {"work": WORK, "reverse": True, "interpret": interpret}
    gx, gv0 = call(kernel, cut, time, inputs, outputs, **options)
    return unfold(gx, cut, tuple(features)), unfold(gv0, cut, tuple(features))
