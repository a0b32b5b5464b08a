"""A product with a kernel of which whole blocks are zero: one function, several implementations."""

import math
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxlearn_kernels.block_sparse import compiled_loop, pallas_gpu, pallas_tpu, reference
from jaxlearn_kernels.block_sparse.blocks import block_mask, expanded

__all__ = ["Implementation", "block_mask", "block_sparse_matmul", "expanded"]

Implementation = Literal["reference", "loop", "tpu", "gpu", "interpret", "interpret_gpu"]
"""Names of the implementations of :func:`block_sparse_matmul`."""


def block_sparse_matmul(
    x: jax.Array,
    w: jax.Array,
    mask: jax.Array,
    *,
    implementation: Implementation | None = None,
) -> jax.Array:
    """``x (m w)``, in which empty blocks of w cost no product, forward and in both gradients.

    Block (i, j) of w counts where ``mask[i, j]``; the mask is data, so it may change between steps
    without a new compilation. The cotangents are ``dy (m w)'`` and ``m (x' dy)``: the one of w is
    zero in empty blocks, and dense within the others. A mask of single entries is brought to
    blocks by ``block_mask``; entries that are zero in w stay out of the product by themselves.

    With ``implementation=None`` the program is chosen when it is lowered, by the platform it is
    lowered for: on TPU and CUDA a Pallas kernel (float32, bfloat16, x and w of one type; on TPU
    blocks whose sides are multiples of 128, on CUDA of 16), else the dense product with the masked
    kernel; on CPU a loop over the blocks that are there. Where all blocks are there, the dense
    product is the faster one; on an H100 in float32 it is so down to a fifth of the blocks of a
    layer of 4096, and a layer of 1024 gains nothing. All of these support reverse mode;
    ``"reference"`` is the dense product differentiated by JAX, in any mode and order. ``"loop"``,
    ``"tpu"`` and ``"gpu"`` force a program, ``"interpret"`` and ``"interpret_gpu"`` run a kernel's
    code on any device, slowly.
    The kernels are not partitioned by the compiler: call them inside ``shard_map``.

    Args:
      x: ``[..., n]``, floating point.
      w: ``[n, m]``.
      mask: ``[n / b_n, m / b_m]``, boolean; its shape fixes that of the blocks, ``b_n x b_m``.
      implementation: None, or one of the names above.

    Returns:
      y ``[..., m]``, in the type that x and w promote to. Sums are made in float32 at least.

    Raises:
      ValueError: rank, dtype, shape or name does not fit; the line says which and what to do.

    Example:
      >>> w = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> block_sparse_matmul(jnp.array([[1.0, 1.0]]), w, jnp.array([[True, False]])).tolist()
      [[4.0, 0.0]]
    """
    _check(x, w, mask, implementation)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    if implementation == "reference" or 0 in (rows.size, w.size):
        y = reference.times(rows, w, mask)
    else:
        y = _sparse(rows, w, mask, implementation)
    return y.reshape(*x.shape[:-1], w.shape[1])


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sparse(x, w, mask, implementation):
    return _run("times", x, w, mask, implementation, block_of(w.shape, mask))


def _forward(x, w, mask, implementation):
    return _sparse(x, w, mask, implementation), (x, w, mask)


def _backward(implementation, saved, dy):
    x, w, mask = saved
    block = block_of(w.shape, mask)
    dx = _run("back", dy, w, mask, implementation, block)
    dw = _run("outer", x, dy, mask, implementation, block)
    return dx.astype(x.dtype), dw.astype(w.dtype), None


_sparse.defvjp(_forward, _backward)


def block_of(shape: tuple[int, ...], mask: jax.Array) -> tuple[int, int]:
    """The sides of a block of a kernel of this shape."""
    return shape[0] // mask.shape[0], shape[1] // mask.shape[1]


def _run(part: str, left, right, mask, implementation: str | None, block) -> jax.Array:
    """One of the three products, by the chosen implementation."""
    dense, loop = getattr(reference, part), getattr(compiled_loop, part)
    tpu, gpu = getattr(pallas_tpu, part), getattr(pallas_gpu, part)
    if implementation is not None:
        named: dict[str, Any] = {"loop": loop, "tpu": tpu, "gpu": gpu}
        named |= {"interpret": partial(tpu, interpret=True)}
        named |= {"interpret_gpu": partial(gpu, interpret=True)}
        return named[implementation](left, right, mask)
    kernels = {"cpu": loop}
    if left.dtype == right.dtype and left.dtype in pallas_tpu.DTYPES:
        if pallas_tpu.rows_of(left.shape[0], block, left.dtype.itemsize):
            kernels["tpu"] = tpu
        if pallas_gpu.tile_of(block):
            kernels["cuda"] = gpu
    return jax.lax.platform_dependent(left, right, mask, default=dense, **kernels)


def _check(x: jax.Array, w: jax.Array, mask: jax.Array, implementation: str | None) -> None:
    """Refuse wrong arguments with one line each."""
    if implementation is not None and implementation not in get_args(Implementation):
        names = ", ".join(get_args(Implementation))
        raise ValueError(f"implementation must be None or one of {names}, found {implementation!r}")
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"x [..., n] and w [n, m] do not fit: found {x.shape} and {w.shape}")
    if mask.ndim != 2 or mask.dtype != jnp.bool_:
        raise ValueError(
            f"mask must be boolean with two axes, found {mask.dtype} of shape {mask.shape}; "
            "block_mask makes one"
        )
    if 0 in mask.shape or w.shape[0] % mask.shape[0] or w.shape[1] % mask.shape[1]:
        raise ValueError(f"{mask.shape} blocks do not divide a kernel of {w.shape}")
    for name, array in {"x": x, "w": w}.items():
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, found {array.dtype}; cast it first")
    forced = implementation in ("tpu", "gpu", "interpret", "interpret_gpu")
    if forced and (x.dtype != w.dtype or x.dtype not in pallas_tpu.DTYPES):
        raise ValueError(
            f"the kernels take x and w of one type, float32 or bfloat16, found {x.dtype} and "
            f"{w.dtype}; cast them"
        )
