"""Scans with the kernels' contract, for platforms without a kernel.

The backward pass is the written-out sweep over k, v, y and the saved ``log D``: one residual per
element beside inputs and output, where differentiating the reference scan keeps ten in all.

One token at a time is the fastest way on CPUs. Chunks of tokens whose pairs are computed at once
(4 at a time are best, 8 and more take longer again) take 2.5 times as long at 1024 x 12 x 512 and
3.9 times at 128 x 16 x 128, forward and backward, and unrolling the loop twice takes 3 times.
"""

import jax

from jaxlearn_kernels.wkv import recurrence
from jaxlearn_kernels.wkv.recurrence import Sweep
from jaxlearn_kernels.wkv.state import WkvState


def forward(
    k: jax.Array, v: jax.Array, w: jax.Array, u: jax.Array, state: WkvState, *, save: bool
) -> tuple:
    """``(y, state)``, and with ``save`` the ``log D [T, ...]`` as third."""

    def body(state, token):
        k_t, v_t = (a.astype(state.m.dtype) for a in token)
        y, log_d, state = recurrence.token(state, k_t, v_t, w, u)
        return state, (y.astype(v.dtype), *([log_d] if save else []))

    state, (y, *log_d) = jax.lax.scan(body, state, (k, v))
    return y, state, *log_d


def backward(
    tokens: tuple[jax.Array, ...], w: jax.Array, u: jax.Array, ends: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array, Sweep]:
    """Cotangents ``gk, gv [T, ...]`` and the sweep over all tokens.

    Args:
      tokens: k, v, y, log D and the cotangent of y, ``[T, ...]`` each.
      w: log-decay ``[...]``.
      u: bonus ``[...]``.
      ends: final m and the cotangents of the final P and Q, ``[...]`` each.
    """
    k, v, *_ = tokens

    def body(sweep, token):
        wide = tuple(a.astype(w.dtype) for a in token)
        gk, gv, sweep = recurrence.adjoint(sweep, wide, w, u)
        return sweep, (gk.astype(k.dtype), gv.astype(v.dtype))

    opened = recurrence.opened(*ends)
    sweep, (gk, gv) = jax.lax.scan(body, opened, tokens, reverse=True)
    return gk, gv, sweep
