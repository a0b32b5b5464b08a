"""The WKV recurrence, attention in linear time: one public function, several implementations."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxlearn_kernels.time_blocks_tpu import DTYPES
from jaxlearn_kernels.time_dispatch import run
from jaxlearn_kernels.wkv import compiled_scan, pallas_gpu, pallas_tpu, recurrence, reference
from jaxlearn_kernels.wkv.reference import step
from jaxlearn_kernels.wkv.state import WkvState, compute_dtype, start

__all__ = ["Implementation", "WkvState", "start", "step", "wkv"]

Implementation = Literal["reference", "scan", "tpu", "gpu", "interpret", "interpret_gpu"]
"""Names of the implementations of :func:`wkv`."""


def wkv(
    k: jax.Array,
    v: jax.Array,
    w: jax.Array,
    u: jax.Array,
    state: WkvState | None = None,
    *,
    implementation: Implementation | None = None,
) -> tuple[jax.Array, WkvState]:
    """Average the values of all tokens so far, weighted by their keys and their age.

    ::

        y_t = (sum_{i<t} e^{w (t-1-i) + k_i} v_i + e^{u + k_t} v_t)
              / (sum_{i<t} e^{w (t-1-i) + k_i} + e^{u + k_t})

    per channel: the WKV of RWKV (Peng et al., EMNLP Findings 2023, arXiv 2305.13048), as in
    SpikeGPT (Zhu et al., TMLR 2024, arXiv 2302.13939). Sums are carried from token to token in
    float32, divided by their largest term (:class:`WkvState`), so that no key overflows.

    With ``implementation=None`` the program is chosen when it is lowered, by the platform it is
    lowered for: a fused Pallas kernel on TPU (float32, bfloat16) and CUDA, a compiled scan
    elsewhere. All of these keep k, v, y and one array more for the backward pass, which is one
    sweep, and support reverse mode; ``"reference"`` is the plain scan differentiated by JAX, in any
    mode and order. ``"scan"`` forces the compiled scan, ``"tpu"`` and ``"gpu"`` a kernel, and
    ``"interpret"`` and ``"interpret_gpu"`` run a kernel's code on any device, slowly. The kernels
    are not partitioned by the compiler: call them inside ``shard_map``.

    Args:
      k: keys ``[T, ..., C]``, floating point, T >= 1.
      v: values, of the same shape and dtype.
      w: log-decay ``[C]``, at most 0: ``-exp(time_decay)``.
      u: bonus ``[C]`` of the current token's key.
      state: after the tokens before, ``[..., C]`` each; None starts a sequence. Gradients run
        through it, but for the returned ``m``, a scale without gradient.
      implementation: None, or one of the names above.

    Returns:
      y ``[T, ..., C]`` in the dtype of v, and the state in float32 (float64 for float64 inputs),
      with which a following call continues the sequence.

    Raises:
      ValueError: rank, dtype, shape or name does not fit; the line says which and what to do.

    Example:
      >>> v = jnp.array([[1.0], [3.0], [5.0]])
      >>> y, state = wkv(jnp.zeros((3, 1)), v, jnp.zeros(1), jnp.zeros(1))  # a running mean
      >>> y[:, 0].tolist(), float(state.Q[0])
      ([1.0, 2.0, 3.0], 3.0)
    """
    _check(k, v, w, u, implementation)
    features, dtype = k.shape[1:], compute_dtype(k.dtype)
    state = start(features, dtype) if state is None else _checked(state, features, dtype)
    if implementation == "reference" or k.size == 0:
        return reference.scan(k, v, w, u, state)
    # JAX sums the gradients over the batch when it transposes the broadcast
    wide = (jnp.broadcast_to(a.astype(dtype), features) for a in (w, u))
    return _fused(k, v, *wide, state, implementation)


_run = partial(run, (compiled_scan, pallas_tpu, pallas_gpu))


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _fused(k, v, w, u, state, implementation):
    return _run("forward", implementation, k.dtype, (k, v, w, u, state), save=False)


def _fused_forward(k, v, w, u, state, implementation):
    y, final, log_d = _run("forward", implementation, k.dtype, (k, v, w, u, state), save=True)
    return (y, final), (k, v, y, log_d, w, u, state, final.m)


def _fused_backward(implementation, residuals, cotangents):
    *tokens, w, u, state, m = residuals
    gy, (g_p, g_q, _) = cotangents
    arrays = ((*tokens, gy), w, u, (m, g_p, g_q))
    gk, gv, sweep = _run("backward", implementation, gy.dtype, arrays)
    return gk, gv, *recurrence.closed(sweep, state)


_fused.defvjp(_fused_forward, _fused_backward)


def _checked(state: WkvState, features: tuple[int, ...], dtype) -> WkvState:
    """The state in the compute dtype, checked against k."""
    if not isinstance(state, tuple) or len(state) != 3:
        raise ValueError(f"state must be a WkvState (P, Q, m), found {type(state).__name__}")
    for name, array in zip(WkvState._fields, state, strict=True):
        if array.shape != features:
            raise ValueError(
                f"state.{name} must have the shape of one token, {features}, found {array.shape}"
            )
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"state.{name} must be floating point, found {array.dtype}")
    return WkvState(*(array.astype(dtype) for array in state))


def _check(k, v, w, u, implementation) -> None:
    """Refuse wrong arguments with one line each."""
    if implementation is not None and implementation not in get_args(Implementation):
        names = ", ".join(get_args(Implementation))
        raise ValueError(f"implementation must be None or one of {names}, found {implementation!r}")
    if k.ndim < 2 or k.shape[0] < 1:
        raise ValueError(f"k must be [T, ..., C] with T >= 1, found shape {k.shape}")
    if v.shape != k.shape or v.dtype != k.dtype:
        raise ValueError(
            f"k and v must be of one shape and dtype, found {k.shape} {k.dtype} and "
            f"{v.shape} {v.dtype}"
        )
    for name, array in {"w": w, "u": u}.items():
        if array.shape != k.shape[-1:]:
            raise ValueError(f"{name} must be [C] = {k.shape[-1:]}, found shape {array.shape}")
    for name, array in {"k": k, "w": w, "u": u}.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, found {array.dtype}; cast it first")
    if implementation in ("tpu", "interpret") and k.dtype not in DTYPES:
        raise ValueError(f"the TPU kernel takes float32 or bfloat16 k, found {k.dtype}; cast it")
