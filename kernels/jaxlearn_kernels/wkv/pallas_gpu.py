"""GPU kernels (Pallas through Triton): one program per tile of channels, time loop inside.

Channels do not talk to each other, so programs share nothing and the state lives in registers; the
tiles are those of :mod:`jaxlearn_kernels.time_blocks_gpu`.
"""

import math
from functools import partial

import jax
from jax.experimental.pallas import triton as plgpu

from jaxlearn_kernels.time_blocks_gpu import call, here, over_time
from jaxlearn_kernels.wkv import recurrence
from jaxlearn_kernels.wkv.recurrence import Sweep
from jaxlearn_kernels.wkv.state import WkvState


def _forward_kernel(*refs, time: int, features: int):
    (k_ref, v_ref), given, (y_ref, *rest) = refs[:2], refs[2:7], refs[7:]
    final, log_d_ref = rest[:3], rest[3:]
    own, mask = here(features)
    w, u, *state = (plgpu.load(ref.at[own], mask=mask, other=0.0) for ref in given)

    def load(t):
        return [
            plgpu.load(ref.at[t, own], mask=mask, other=0.0).astype(w.dtype)
            for ref in (k_ref, v_ref)
        ]

    def step(t, token, state):
        k, v = token
        y, log_d, state = recurrence.token(state, k, v, w, u)
        plgpu.store(y_ref.at[t, own], y.astype(y_ref.dtype), mask=mask)
        if log_d_ref:
            plgpu.store(log_d_ref[0].at[t, own], log_d, mask=mask)
        return state

    state = over_time(time, load, step, WkvState(*state))
    for ref, value in zip(final, state, strict=True):
        plgpu.store(ref.at[own], value, mask=mask)


def _backward_kernel(*refs, time: int, features: int):
    tokens, given, (gk_ref, gv_ref, *final) = refs[:5], refs[5:10], refs[10:]
    own, mask = here(features)
    w, u, *ends = (plgpu.load(ref.at[own], mask=mask, other=0.0) for ref in given)

    def load(i):
        at = (time - 1 - i, own)
        return [plgpu.load(ref.at[at], mask=mask, other=0.0).astype(w.dtype) for ref in tokens]

    def step(i, token, sweep):
        at = (time - 1 - i, own)
        gk, gv, sweep = recurrence.adjoint(sweep, tuple(token), w, u)
        plgpu.store(gk_ref.at[at], gk.astype(gk_ref.dtype), mask=mask)
        plgpu.store(gv_ref.at[at], gv.astype(gv_ref.dtype), mask=mask)
        return sweep

    sweep = over_time(time, load, step, recurrence.opened(*ends))
    for ref, value in zip(final, sweep, strict=True):
        plgpu.store(ref.at[own], value, mask=mask)


@partial(jax.jit, static_argnames=("save", "interpret"))
def forward(
    k: jax.Array,
    v: jax.Array,
    w: jax.Array,
    u: jax.Array,
    state: WkvState,
    *,
    save: bool,
    interpret: bool = False,
) -> tuple:
    """``(y, state)``, and with ``save`` the ``log D [T, ...]`` as third."""
    time, features = k.shape[0], math.prod(k.shape[1:])
    carry = jax.ShapeDtypeStruct((features,), w.dtype)
    outputs = [
        jax.ShapeDtypeStruct((time, features), v.dtype),
        *[carry] * 3,
        *([jax.ShapeDtypeStruct((time, features), w.dtype)] if save else []),
    ]
    inputs = [*(a.reshape(time, features) for a in (k, v)), *(a.ravel() for a in (w, u, *state))]
    kernel = partial(_forward_kernel, time=time, features=features)
    y, *rest = call(kernel, features, inputs, outputs, interpret=interpret)
    P, Q, m = (a.reshape(w.shape) for a in rest[:3])
    return y.reshape(v.shape), WkvState(P, Q, m), *(a.reshape(k.shape) for a in rest[3:])


@partial(jax.jit, static_argnames=("interpret",))
def backward(
    tokens: tuple[jax.Array, ...],
    w: jax.Array,
    u: jax.Array,
    ends: tuple[jax.Array, ...],
    *,
    interpret: bool = False,
) -> tuple[jax.Array, jax.Array, Sweep]:
    """Cotangents ``gk, gv [T, ...]`` and the sweep; arguments as in the compiled scan."""
    k, v, *_ = tokens
    time, features = k.shape[0], math.prod(k.shape[1:])
    carry = jax.ShapeDtypeStruct((features,), w.dtype)
    outputs = [*(jax.ShapeDtypeStruct((time, features), a.dtype) for a in (k, v)), *[carry] * 7]
    inputs = [
        *(a.reshape(time, features) for a in tokens),
        *(a.ravel() for a in (w, u, *ends)),
    ]
    kernel = partial(_backward_kernel, time=time, features=features)
    gk, gv, *sweep = call(kernel, features, inputs, outputs, interpret=interpret)
    return gk.reshape(k.shape), gv.reshape(v.shape), Sweep(*(a.reshape(w.shape) for a in sweep))
