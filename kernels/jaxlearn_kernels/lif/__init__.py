"""Leaky integrate-and-fire neurons over time: one public function over several implementations."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxlearn_kernels.lif import compiled_scan, pallas_gpu, pallas_tpu, reference
from jaxlearn_kernels.lif.options import Neuron
from jaxlearn_kernels.lif.recurrence import compute_dtype
from jaxlearn_kernels.lif.reference import fire, step
from jaxlearn_kernels.lif.surrogates import SURROGATES
from jaxlearn_kernels.time_blocks_tpu import DTYPES
from jaxlearn_kernels.time_dispatch import run

__all__ = ["SURROGATES", "Implementation", "Neuron", "fire", "lif", "step"]

Implementation = Literal["reference", "scan", "tpu", "gpu", "interpret", "interpret_gpu"]
"""Names of the implementations of :func:`lif`."""


def lif(
    x: jax.Array,
    v0: jax.Array | None = None,
    *,
    neuron: Neuron,
    implementation: Implementation | None = None,
    decay: jax.Array | None = None,
    spike_dtype: jnp.dtype | type | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Run a layer of neurons over time: ``u = decay v + x``, fire, reset (see :class:`Neuron`).

    With ``implementation=None`` the program is chosen when it is lowered, by the platform it is
    lowered for: a fused Pallas kernel on TPU (float32, bfloat16) and CUDA, a compiled scan
    elsewhere. All of these keep only ``u`` for the backward pass and support reverse mode;
    ``"reference"`` is the plain scan differentiated by JAX, in any mode and order. ``"scan"``
    forces the compiled scan, ``"tpu"`` and ``"gpu"`` a kernel, and ``"interpret"`` and
    ``"interpret_gpu"`` run a kernel's code on any device, slowly. The kernels are not
    partitioned by the compiler: call them inside ``shard_map``.

    Args:
      x: input ``[T, ...features]``, floating point, T >= 1.
      v0: initial membrane ``[...features]``; None starts at ``neuron.v_reset``.
      neuron: the options.
      implementation: None, or one of the names above.
      decay: array that broadcasts to the features and replaces ``neuron.decay``, with gradient
        (a parametric LIF); always runs the reference.
      spike_dtype: None for spikes in the dtype of x, or int8: one byte written for each, in
        inference only, since integers carry no gradient.

    Returns:
      Spikes ``[T, ...features]`` in the dtype of x, or int8, and the final membrane
      ``[...features]`` in float32 (float64 for float64 inputs), with which a following call
      continues the sequence.

    Raises:
      ValueError: rank, dtype, shape or name does not fit, or int8 spikes are differentiated; the
        line says which and what to do.

    Example:
      >>> x = jnp.array([[0.6], [0.8], [0.2]])
      >>> spikes, v = lif(x, neuron=Neuron(decay=0.5))
      >>> spikes[:, 0].tolist(), round(float(v[0]), 3)
      ([0.0, 1.0, 0.0], 0.25)
    """
    _check(x, neuron, implementation, decay)
    spikes = _spikes(x, spike_dtype)
    v0 = _membrane(x, v0, neuron)
    if spike_dtype is not None:
        x, v0, decay = _inference_only((x, v0, decay))
    if implementation == "reference" or decay is not None or x.size == 0:
        fired, v = reference.scan(x, v0, neuron, decay)
        return fired.astype(spikes), v
    if spike_dtype is not None:
        return _forward(x, v0, neuron, implementation, spikes)
    return _fused(x, v0, neuron, implementation)


def _forward(x, v0, neuron, implementation, spikes: jnp.dtype):
    """Spikes in this dtype and the final membrane, nothing kept for a backward pass."""
    options = {"neuron": neuron, "save": False, "spikes": spikes}
    return _run("forward", implementation, x.dtype, (x, v0), **options)


_run = partial(run, (compiled_scan, pallas_tpu, pallas_gpu))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _fused(x, v0, neuron, implementation):
    return _forward(x, v0, neuron, implementation, x.dtype)


def _fused_forward(x, v0, neuron, implementation):
    options = {"neuron": neuron, "save": True, "spikes": x.dtype}
    results = _run("forward", implementation, x.dtype, (x, v0), **options)
    return results[:2], results[2]


def _fused_backward(neuron, implementation, u, cotangents):
    gs, gv = cotangents
    return _run("backward", implementation, gs.dtype, (u, gs, gv), neuron=neuron)


_fused.defvjp(_fused_forward, _fused_backward)


@jax.custom_jvp
def _inference_only(arrays):
    """The arrays as they are; differentiating them is refused."""
    return arrays


@_inference_only.defjvp
def _refuse(primals, tangents):
    raise ValueError(
        "int8 spikes carry no gradient; leave spike_dtype out where lif is differentiated"
    )


def _spikes(x: jax.Array, spike_dtype) -> jnp.dtype:
    """The dtype of the spikes, checked."""
    if spike_dtype is not None and jnp.dtype(spike_dtype) != jnp.int8:
        raise ValueError(
            f"spike_dtype must be None, for the dtype of x, or int8, found {spike_dtype!r}"
        )
    return x.dtype if spike_dtype is None else jnp.dtype(spike_dtype)


def _membrane(x: jax.Array, v0: jax.Array | None, neuron: Neuron) -> jax.Array:
    """The initial membrane in the compute dtype, checked against x."""
    features, dtype = x.shape[1:], compute_dtype(x.dtype)
    if v0 is None:
        return jnp.full(features, neuron.v_reset, dtype)
    if v0.shape != features:
        raise ValueError(f"v0 must have the shape of one step of x, {features}, found {v0.shape}")
    if not jnp.issubdtype(v0.dtype, jnp.floating):
        raise ValueError(f"v0 must be floating point, found {v0.dtype}; cast it first")
    return v0.astype(dtype)


def _check(x, neuron, implementation, decay) -> None:
    """Refuse wrong arguments with one line each."""
    if not isinstance(neuron, Neuron):
        raise ValueError(f"neuron must be a Neuron, found {type(neuron).__name__}")
    if implementation is not None and implementation not in get_args(Implementation):
        names = ", ".join(get_args(Implementation))
        raise ValueError(f"implementation must be None or one of {names}, found {implementation!r}")
    if x.ndim < 1 or x.shape[0] < 1:
        raise ValueError(f"x must be [T, ...features] with T >= 1, found shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x must be floating point, found {x.dtype}; cast it first")
    if decay is not None and implementation not in (None, "reference"):
        raise ValueError(f"decay as an array needs the reference, found {implementation!r}")
    if decay is not None and not _fits(decay.shape, x.shape[1:]):
        raise ValueError(f"decay must broadcast to {x.shape[1:]}, found shape {decay.shape}")
    if implementation in ("tpu", "interpret") and x.dtype not in DTYPES:
        raise ValueError(f"the TPU kernel takes float32 or bfloat16 x, found {x.dtype}; cast it")


def _fits(shape: tuple[int, ...], features: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to the features."""
    tail = features[len(features) - len(shape) :]
    return len(shape) <= len(features) and all(
        n in (1, m) for n, m in zip(shape, tail, strict=True)
    )
