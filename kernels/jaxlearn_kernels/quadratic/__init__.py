"""A layer of quadratic neurons: one public function over several implementations."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxlearn_kernels.quadratic import pallas_gpu, pallas_tpu, reference
from jaxlearn_kernels.quadratic.branches import Branch, Branches

__all__ = ["Branch", "Branches", "Implementation", "quadratic"]

Implementation = Literal["reference", "xla", "tpu", "gpu", "interpret", "interpret_gpu"]
"""Names of the implementations of :func:`quadratic`."""


def quadratic(
    x: jax.Array,
    r: Branch,
    g: Branch | None = None,
    b: Branch | None = None,
    *,
    recompute: bool = False,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Quadratic neurons ``y = (x W_r + b_r)(x W_g + b_g) + (x^2) W_b + c`` in one pass over x.

    Fan et al., IEEE TNNLS 36(1), 2025, arXiv 2110.06081. Without g it is the compact neuron
    ``(x W_r + b_r) + (x^2) W_b + c``, without b the product alone, without both a linear layer.

    XLA makes two products of it: it writes r and g, and reads them and x again. With
    ``implementation=None`` the program is chosen when it is lowered, by the platform it is lowered
    for: on TPU and CUDA a Pallas kernel that reads x once and writes y alone (float32, bfloat16, x
    and kernels of one type; on TPU a layer that fits on chip, on CUDA one of at most 128 inputs and
    outputs, 512 in bfloat16, see ``pallas_gpu.pays``, that need not keep r and g), elsewhere XLA's
    products. All of these support reverse mode; ``"reference"`` is the definition differentiated by
    JAX, in any mode and order. ``"xla"`` forces XLA's products with the gradient written out,
    ``"tpu"`` and ``"gpu"`` a kernel, and ``"interpret"`` and ``"interpret_gpu"`` run a kernel's
    code on any device, slowly. The kernels are not partitioned by the compiler: call them inside
    ``shard_map``.

    Args:
      x: ``[..., n]``, floating point.
      r: kernel ``[n, m]`` and bias ``[m]``.
      g: likewise, the factor of r.
      b: likewise, of the squared x; its bias is c.
      recompute: keep x alone for the backward pass and compute r and g again there, on TPU within
        the one kernel that makes all gradients where these fit on chip. Otherwise r and g are
        kept, three numbers for each that y has.
      implementation: None, or one of the names above.

    Returns:
      y ``[..., m]``, in the type that x and the kernels promote to.

    Raises:
      ValueError: rank, dtype, shape or name does not fit; the line says which and what to do.

    Example:
      >>> one = Branch(jnp.ones((2, 1)), jnp.zeros(1))
      >>> quadratic(jnp.array([[1.0, 2.0]]), one, one, one).tolist()  # 3 * 3 + (1 + 4)
      [[14.0]]
    """
    branches = Branches(r, g, b)
    _check(x, branches, implementation)
    outputs = r.bias.shape[0]
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    if implementation == "reference" or 0 in (rows.size, outputs):
        whole: Callable = partial(reference.forward, save=False)
        (y,) = (jax.checkpoint(whole) if recompute else whole)(rows, branches)
    else:
        y = _fused(rows, branches, recompute, implementation)
    return y.reshape(*x.shape[:-1], outputs)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _fused(x, branches, recompute, implementation):
    return _forward(x, branches, False, implementation)[0]


def _fused_forward(x, branches, recompute, implementation):
    y, *kept = _forward(x, branches, not recompute, implementation)
    return y, (x, branches, tuple(kept))


def _fused_backward(recompute, implementation, residuals, dy):
    x, branches, kept = residuals
    return _backward(x, branches, kept, dy, implementation)


_fused.defvjp(_fused_forward, _fused_backward)


def _forward(x, branches, save: bool, implementation: str | None) -> tuple[jax.Array, ...]:
    """Call the forward pass of the chosen implementation."""
    xla, tpu, gpu = (
        partial(module.forward, save=save) for module in (reference, pallas_tpu, pallas_gpu)
    )
    if implementation is not None:
        return _forced(xla, tpu, gpu)[implementation](x, branches)
    kernels = {}
    if _suits(x, branches):
        written = 3 if save and branches.g is not None else 1
        # what keeps r and g has the gradients' products after it, and both together gain nothing
        if written == 1 and pallas_gpu.pays(x.shape[1], branches.r.bias.shape[0], x.dtype.itemsize):
            kernels["cuda"] = gpu
        if pallas_tpu.forward_plan(pallas_tpu.layer_of(x, branches), written):
            kernels["tpu"] = tpu
    return jax.lax.platform_dependent(x, branches, default=xla, **kernels)


def _backward(x, branches, kept, dy, implementation: str | None):
    """Call the backward pass: a kernel of its own on TPU where r and g were not kept."""

    def xla(x, branches, dy):
        return reference.backward(x, branches, dy, kept)

    fits = not kept and pallas_tpu.backward_plan(pallas_tpu.layer_of(x, branches)) is not None
    tpu = pallas_tpu.backward if fits else xla
    if implementation is not None:
        return _forced(xla, tpu, xla)[implementation](x, branches, dy)
    kernels = {"tpu": tpu} if fits and _suits(x, branches) else {}
    return jax.lax.platform_dependent(x, branches, dy, default=xla, **kernels)


def _forced(xla: Callable, tpu: Callable, gpu: Callable) -> dict[str, Callable]:
    """The implementations by name; what is the same as XLA's has no interpreter."""
    interpreted = lambda run: run if run is xla else partial(run, interpret=True)
    named = {"xla": xla, "tpu": tpu, "gpu": gpu}
    return named | {"interpret": interpreted(tpu), "interpret_gpu": interpreted(gpu)}


def _suits(x: jax.Array, branches: Branches) -> bool:
    """Whether the kernels take it, and save anything: a single product XLA fuses by itself."""
    several = any(branch is not None for branch in branches[1:])
    alike = all(leaf.dtype == x.dtype for leaf in jax.tree.leaves(branches))
    return several and alike and x.dtype in pallas_tpu.DTYPES


def _check(x: jax.Array, branches: Branches, implementation: str | None) -> None:
    """Refuse wrong arguments with one line each."""
    if implementation is not None and implementation not in get_args(Implementation):
        names = ", ".join(get_args(Implementation))
        raise ValueError(f"implementation must be None or one of {names}, found {implementation!r}")
    if x.ndim < 1:
        raise ValueError(f"x must be [..., n], found shape {x.shape}")
    for name, branch in branches._asdict().items():
        if branch is None:
            continue
        n, m = x.shape[-1], branches.r.bias.shape[-1] if branches.r.bias.ndim else 0
        if branch.kernel.shape != (n, m) or branch.bias.shape != (m,):
            raise ValueError(
                f"x with {n} inputs and {m} outputs need a kernel {(n, m)} and a bias {(m,)} in "
                f"{name}, found {branch.kernel.shape} and {branch.bias.shape}"
            )
    for name, array in {"x": x, "r": branches.r.kernel}.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, found {array.dtype}; cast it first")
    forced = implementation in ("tpu", "gpu", "interpret", "interpret_gpu")
    if forced and any(leaf.dtype not in pallas_tpu.DTYPES or leaf.dtype != x.dtype
                      for leaf in (x, *jax.tree.leaves(branches))):  # fmt: skip
        raise ValueError(
            f"the kernels take x and branches of one type, float32 or bfloat16, found {x.dtype} "
            f"and {branches.r.kernel.dtype}; cast them"
        )
