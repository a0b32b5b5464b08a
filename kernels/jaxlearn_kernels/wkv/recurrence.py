"""One token of the recurrence and its adjoint, as plain elementwise arithmetic.

The compiled scan and both Pallas kernels are loops around these functions, so the formulas stand
once. With ``D_t = sum_{i<t} e^{w (t-1-i) + k_i} + e^{u + k_t}`` the denominator of ``y_t``, the
backward pass needs ``log D_t`` beside k, v and y, and one sweep from the last token to the first::

    A_i = sum_{t>i} e^{w (t-1-i)} gy_t / D_t          B_i = - sum_{t>i} e^{w (t-1-i)} gy_t y_t / D_t
    gv_i = gy_i e^{u+k_i} / D_i + e^{k_i} A_i
    gk_i = gy_i e^{u+k_i} / D_i (v_i - y_i) + e^{k_i} (v_i A_i + B_i)
    gu = sum_i gy_i e^{u+k_i} / D_i (v_i - y_i)
    gw = sum_i e^{k_i} (v_i dA_i/dw + dB_i/dw)

where ``dA/dw`` is carried along: ``A_{i-1} = e^w A_i + gy_i / D_i`` gives
``dA_{i-1}/dw = e^w (dA_i/dw + A_i)``, D being held, and likewise for B. All four are kept divided
by ``e^o``, the largest factor so far; every weight above is then at most 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn_kernels.wkv.state import WkvState


class Sweep(NamedTuple):
    """What the sweep from the last token to the first carries.

    Attributes:
      A: cotangent of the numerator, divided by ``e^o``.
      B: cotangent of the denominator, divided by ``e^o``.
      A_w: derivative of A with respect to w, divided by ``e^o``.
      B_w: derivative of B with respect to w, divided by ``e^o``.
      o: the log-scale.
      gw: gradient of w so far.
      gu: gradient of u so far.
    """

    A: jax.Array
    B: jax.Array
    A_w: jax.Array
    B_w: jax.Array
    o: jax.Array
    gw: jax.Array
    gu: jax.Array


def balanced(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``n = max(a, b)``, ``e^{a-n}`` and ``e^{b-n}`` by one exponential: one of them is 1."""
    smaller = jnp.exp(-jnp.abs(a - b))
    one = jnp.ones_like(smaller)
    return jnp.maximum(a, b), jnp.where(a >= b, one, smaller), jnp.where(a >= b, smaller, one)


def token(
    state: WkvState, k: jax.Array, v: jax.Array, w: jax.Array, u: jax.Array
) -> tuple[jax.Array, jax.Array, WkvState]:
    """``(y, log D, next state)``; the formulas are ``jaxlearn_kernels.wkv.step``'s."""
    P, Q, m = state
    n, past, own = balanced(m, u + k)
    denominator = past * Q + own
    y = (past * P + own * v) / denominator
    log_d = n + jnp.log(denominator)
    n, past, own = balanced(m + w, k)
    return y, log_d, WkvState(past * P + own * v, past * Q + own, n)


def opened(m: jax.Array, g_p: jax.Array, g_q: jax.Array) -> Sweep:
    """The sweep before the last token, from the final scale and the cotangents of P and Q."""
    zero = jnp.zeros_like(g_p)
    return Sweep(g_p, g_q, zero, zero, -m, zero, zero)


def adjoint(
    sweep: Sweep,
    token: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array],
    w: jax.Array,
    u: jax.Array,
) -> tuple[jax.Array, jax.Array, Sweep]:
    """Pull the cotangent of one token's y back to its inputs.

    Args:
      sweep: over the tokens after this one.
      token: k, v, y, log D and the cotangent of y.
      w: log-decay.
      u: bonus.

    Returns:
      Cotangents of k and v, and the sweep over this token too.
    """
    k, v, y, log_d, gy = token
    A, B, A_w, B_w, o, gw, gu = sweep
    read, written = gy * jnp.exp(u + k - log_d), jnp.exp(k + o)
    bonus = read * (v - y)
    gv = read + written * A
    gk = bonus + written * (v * A + B)
    gw, gu = gw + written * (v * A_w + B_w), gu + bonus
    n, later, here = balanced(o + w, -log_d)
    arrived = here * gy
    A_w, B_w = later * (A_w + A), later * (B_w + B)
    A, B = later * A + arrived, later * B - arrived * y
    return gk, gv, Sweep(A, B, A_w, B_w, n, gw, gu)


def closed(sweep: Sweep, state: WkvState) -> tuple[jax.Array, jax.Array, WkvState]:
    """Cotangents of w, u and of the initial state, after the first token."""
    scale = jnp.exp(sweep.o + state.m)
    g_p, g_q = scale * sweep.A, scale * sweep.B
    gw = sweep.gw + scale * (state.P * sweep.A_w + state.Q * sweep.B_w)
    return gw, sweep.gu, WkvState(g_p, g_q, state.P * g_p + state.Q * g_q)
