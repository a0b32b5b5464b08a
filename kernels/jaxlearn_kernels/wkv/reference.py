"""The definition: a ``lax.scan`` over single tokens, differentiated by JAX itself."""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.wkv.state import WkvState, compute_dtype


def step(
    state: WkvState, k: jax.Array, v: jax.Array, w: jax.Array, u: jax.Array
) -> tuple[jax.Array, WkvState]:
    """One token: read with the bonus u, then write with the decay w.

    ::

        n = max(m, u + k)      y = (e^{m-n} P + e^{u+k-n} v) / (e^{m-n} Q + e^{u+k-n})
        n = max(m + w, k)      P = e^{m+w-n} P + e^{k-n} v,   Q = e^{m+w-n} Q + e^{k-n},   m = n

    Args:
      state: after the previous token, see ``jaxlearn_kernels.wkv.start``; ``[..., C]`` each.
      k: key ``[..., C]`` of this token.
      v: value ``[..., C]`` of this token.
      w: log-decay ``[C]``.
      u: bonus ``[C]``.

    Returns:
      y ``[..., C]`` in the dtype of v, and the next state in float32 (float64 for float64 inputs).

    >>> from jaxlearn_kernels.wkv import start
    >>> one = jnp.ones(1)
    >>> y, state = step(start((1,)), 0 * one, 3 * one, -one, 0 * one)
    >>> y.tolist(), [a.tolist() for a in state]  # the first token reads itself alone
    ([3.0], [[3.0], [1.0], [0.0]])
    """
    dtype = compute_dtype(v.dtype)
    P, Q, m = (a.astype(dtype) for a in state)
    wide_v = v.astype(dtype)
    k, w, u = (a.astype(dtype) for a in (k, w, u))
    n = jax.lax.stop_gradient(jnp.maximum(m, u + k))
    past, own = jnp.exp(m - n), jnp.exp(u + k - n)
    y = (past * P + own * wide_v) / (past * Q + own)
    n = jax.lax.stop_gradient(jnp.maximum(m + w, k))
    past, own = jnp.exp(m + w - n), jnp.exp(k - n)
    return y.astype(v.dtype), WkvState(past * P + own * wide_v, past * Q + own, n)


def scan(
    k: jax.Array, v: jax.Array, w: jax.Array, u: jax.Array, state: WkvState
) -> tuple[jax.Array, WkvState]:
    """All tokens: ``k, v [T, ..., C]`` to ``y [T, ..., C]`` and the final state."""

    def body(state, token):
        k_t, v_t = token
        y, state = step(state, k_t, v_t, w, u)
        return state, y

    state, y = jax.lax.scan(body, state, (k, v))
    return y, state
