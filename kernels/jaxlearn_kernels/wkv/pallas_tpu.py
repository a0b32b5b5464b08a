"""TPU kernels: the time loop runs inside the kernel and the state never leaves VMEM.

The blocks are those of :mod:`jaxlearn_kernels.time_blocks_tpu`: the blocks of the final state (of
the finished sweep, backward) serve as the carry while the chunks of one tile pass.
"""

import math
from functools import partial

import jax
from jax.experimental import pallas as pl

from jaxlearn_kernels.time_blocks_tpu import LANES, Work, call, fold, plan, steps, unfold
from jaxlearn_kernels.wkv import recurrence
from jaxlearn_kernels.wkv.recurrence import Sweep
from jaxlearn_kernels.wkv.state import WkvState

TILE = 4096  # elements: four float32 registers for each of up to 16 values alive at once
FORWARD, BACKWARD = Work(flops=24, transcendentals=3), Work(flops=34, transcendentals=3)


def _forward_kernel(*refs, chunk: int, time: int):
    k_ref, v_ref, w_ref, u_ref, *rest = refs
    given, (y_ref, *rest) = rest[:3], rest[3:]
    carry, log_d_ref = rest[:3], rest[3:]
    index = pl.program_id(3)

    @pl.when(index == 0)
    def _():
        for ref, initial in zip(carry, given, strict=True):
            ref[...] = initial[...]

    w, u = w_ref[...], u_ref[...]

    def body(t, state):
        k, v = (ref[t].astype(w.dtype) for ref in (k_ref, v_ref))
        y, log_d, state = recurrence.token(state, k, v, w, u)
        y_ref[t] = y.astype(y_ref.dtype)
        if log_d_ref:
            log_d_ref[0][t] = log_d
        return state

    state = WkvState(*(ref[...] for ref in carry))
    state = jax.lax.fori_loop(0, steps(index, chunk, time), body, state)
    for ref, final in zip(carry, state, strict=True):
        ref[...] = final


def _backward_kernel(*refs, chunk: int, time: int):
    tokens, (w_ref, u_ref, *rest) = refs[:5], refs[5:]
    ends, (gk_ref, gv_ref, *carry) = rest[:3], rest[3:]
    index = pl.program_id(3)
    here = steps(pl.num_programs(3) - 1 - index, chunk, time)

    @pl.when(index == 0)
    def _():
        opened = recurrence.opened(*(ref[...] for ref in ends))
        for ref, initial in zip(carry, opened, strict=True):
            ref[...] = initial

    w, u = w_ref[...], u_ref[...]

    def body(i, sweep):
        t = here - 1 - i
        token = tuple(ref[t].astype(w.dtype) for ref in tokens)
        gk, gv, sweep = recurrence.adjoint(sweep, token, w, u)
        gk_ref[t] = gk.astype(gk_ref.dtype)
        gv_ref[t] = gv.astype(gv_ref.dtype)
        return sweep

    sweep = Sweep(*(ref[...] for ref in carry))
    sweep = jax.lax.fori_loop(0, here, body, sweep)
    for ref, final in zip(carry, sweep, strict=True):
        ref[...] = final


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
    time, features = k.shape[0], k.shape[1:]
    width = 3 * k.dtype.itemsize + (w.dtype.itemsize if save else 0)
    cut = plan(time, features, width, TILE)
    sequence, carry = (time, *cut.folded), jax.ShapeDtypeStruct(cut.folded, w.dtype)
    outputs = [
        jax.ShapeDtypeStruct(sequence, v.dtype),
        *[carry] * 3,
        *([jax.ShapeDtypeStruct(sequence, w.dtype)] if save else []),
    ]
    inputs = [*(fold(a, cut, 1) for a in (k, v)), *(fold(a, cut, 0) for a in (w, u, *state))]
    kernel = partial(_forward_kernel, chunk=cut.chunk, time=time)
    options = {"work": FORWARD, "reverse": False, "interpret": interpret}
    results = call(kernel, cut, time, inputs, outputs, **options)
    y, P, Q, m, *log_d = (unfold(a, cut, features) for a in results)
    return y, WkvState(P, Q, m), *log_d


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
    dtype, (time, *rest) = tokens[0].dtype, tokens[0].shape
    features = tuple(rest)
    if math.prod(features) < LANES:  # the compiler refuses bfloat16 in blocks of a few lanes
        tokens = tuple(a.astype(w.dtype) for a in tokens)
    k, v, *_ = tokens
    cut = plan(time, features, 6 * k.dtype.itemsize + w.dtype.itemsize, TILE)
    sequence, carry = (time, *cut.folded), jax.ShapeDtypeStruct(cut.folded, w.dtype)
    outputs = [*(jax.ShapeDtypeStruct(sequence, a.dtype) for a in (k, v)), *[carry] * 7]
    inputs = [*(fold(a, cut, 1) for a in tokens), *(fold(a, cut, 0) for a in (w, u, *ends))]
    kernel = partial(_backward_kernel, chunk=cut.chunk, time=time)
    options = {"work": BACKWARD, "reverse": True, "interpret": interpret}
    results = call(kernel, cut, time, inputs, outputs, **options)
    gk, gv, *sweep = (unfold(a, cut, features) for a in results)
    return gk.astype(dtype), gv.astype(dtype), Sweep(*sweep)
