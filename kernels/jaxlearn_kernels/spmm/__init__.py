"""Sparse matrix times dense matrix with an epilogue: one function over several implementations."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import SymbolicZero

from jaxlearn_kernels.spmm import compiled_csr, pallas_gpu, pallas_tpu, reference
from jaxlearn_kernels.spmm.epilogue import Epilogue, adjoint
from jaxlearn_kernels.spmm.matrix import (
    Pattern,
    Sparse,
    from_coordinates,
    of_rows,
    softmax_rows,
    sum_rows,
)

__all__ = [
    "Epilogue",
    "Implementation",
    "Pattern",
    "Sparse",
    "from_coordinates",
    "of_rows",
    "softmax_rows",
    "spmm",
    "sum_rows",
]

Implementation = Literal["reference", "csr", "tpu", "gpu", "interpret", "interpret_gpu"]
"""Names of the implementations of :func:`spmm`."""

PLAIN = Epilogue()


def spmm(
    matrix: Sparse,
    x: jax.Array,
    *,
    epilogue: Epilogue = PLAIN,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    implementation: Implementation | None = None,
) -> Any:
    """The product ``p_i = sum over entries (i, j) of values_ij x_j``, then :class:`Epilogue`.

    Sums are made in float32 (float64 for float64 x) in a fixed order, without atomics: the same
    arguments give the same bits. The gradient with respect to x is the product of the transpose
    with the incoming gradient; the one with respect to the values (attention) and to scale is
    computed, and what it needs is kept, only where it is asked for. Under ``vmap`` over x alone
    the examples become further columns, so that the entries are read once for all of them.

    With ``implementation=None`` the program is chosen when it is lowered, by the platform it is
    lowered for: a Pallas kernel with the epilogue inside on CUDA, a compiled CSR product on CPU
    (``"csr"``), the reference elsewhere, on TPU too: its compiler fuses gather and segment sum
    (no temporaries at 1,000,000 entries of width 128), and which is faster there was not measured.
    ``"reference"`` is plain array operations differentiated by JAX, in any mode and order.
    ``"tpu"`` (float32, bfloat16) and ``"gpu"`` force a kernel, ``"interpret"`` and
    ``"interpret_gpu"`` run its code on any device, slowly. The kernels are not partitioned by the
    compiler: call them inside ``shard_map``.

    A product of width d reads ``E (d itemsize + 8)`` bytes of x and entries and writes
    ``n d itemsize``. Gather and segment sum write and read another ``[E, d]`` of messages where the
    compiler does not fuse the two, and each step of an epilogue outside another ``2 n d itemsize``.

    Args:
      matrix: n x m, with E entries, padding included.
      x: ``[m, ..., d]``, floating point. Axes in between are passes over the same matrix: they
        become columns, so that its entries are read once for all of them.
      epilogue: what is done to each row of the product.
      scale: ``[n]``, a factor per row, or None.
      bias: ``[d]``, or None.
      implementation: None, or one of the names above.

    Returns:
      ``y [n, ..., d]`` in the dtype of x; with ``epilogue.squared_norm`` a pair of it and the
      squared norms ``[n, ...]`` in the dtype of the sums.

    Raises:
      ValueError: shape, dtype or name does not fit; the line says which and what to do.

    Example:
      >>> i, j = jnp.array([0, 0, 1]), jnp.array([0, 2, 1])
      >>> matrix = from_coordinates(i, j, jnp.array([1.0, 2.0, 3.0]), (2, 3))
      >>> x = jnp.array([[1.0, 0.0], [0.0, -1.0], [1.0, 2.0]])
      >>> spmm(matrix, x).tolist()
      [[3.0, 4.0], [0.0, -3.0]]
      >>> y, squares = spmm(matrix, x, epilogue=Epilogue(relu=True, squared_norm=True))
      >>> y.tolist(), squares.tolist()
      ([[3.0, 4.0], [0.0, 0.0]], [25.0, 0.0])
    """
    x = jnp.asarray(x)
    values = jnp.asarray(matrix.values)
    scale = None if scale is None else jnp.asarray(scale)
    bias = None if bias is None else jnp.asarray(bias)
    _check(matrix, x, epilogue, scale, bias, implementation)
    if x.ndim == 2:
        y, *squares = _rows(matrix, values, x, scale, bias, epilogue, implementation)
    else:
        y, *squares = _folded(matrix, values, x, scale, bias, epilogue, implementation)
    return (y, squares[0][..., 0]) if epilogue.squared_norm else y


def _rows(matrix, values, x, scale, bias, epilogue, implementation) -> tuple:
    if implementation != "reference":
        structure = matrix._replace(values=None)
        return _fused(structure, values, x, scale, bias, epilogue, implementation)
    options = {"epilogue": epilogue, "dtype": x.dtype}
    return reference.forward(matrix.pattern, values, x, scale, bias, **options)


def _folded(matrix, values, x, scale, bias, epilogue, implementation) -> tuple:
    """Axes between the first and the last become columns; rows are measured behind the product."""
    shape = x.shape[1:]
    bias = None if bias is None else jnp.tile(bias, math.prod(shape[:-1]))
    inside = Epilogue(relu=epilogue.relu)
    x = x.reshape(x.shape[0], math.prod(shape))
    (h,) = _rows(matrix, values, x, scale, bias, inside, implementation)
    h = h.astype(reference.compute_dtype(x.dtype)).reshape(-1, *shape)
    behind = dataclasses.replace(epilogue, relu=False)
    return reference.after(h, None, None, epilogue=behind, dtype=x.dtype)


class _Saved(NamedTuple):
    """What the backward pass keeps; None where the wanted gradients do not need it."""

    structure: Sparse
    values: jax.Array
    scale: jax.Array | None
    bias: jax.Array | None
    x: jax.Array | None  # for the gradient of the values
    product: jax.Array | None  # for that of the scale
    wants_x: tuple[()] | None
    results: tuple  # for the epilogue


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _fused(structure, values, x, scale, bias, epilogue, implementation):
    arrays = (structure.pattern, values, x, scale, bias)
    return _run(arrays, epilogue, x.dtype, implementation)


def _fused_forward(structure, values, x, scale, bias, epilogue, implementation):
    wanted = [leaf is not None and leaf.perturbed for leaf in (values, x, scale)]
    structure, values, x, scale, bias = jax.tree.map(
        lambda leaf: leaf.value, (structure, values, x, scale, bias)
    )
    product = None
    if wanted[2]:
        wide = x.astype(reference.compute_dtype(x.dtype))
        (product,) = _fused(structure, values, wide, None, None, PLAIN, implementation)
        results = reference.after(product, scale, bias, epilogue=epilogue, dtype=x.dtype)
    else:
        results = _fused(structure, values, x, scale, bias, epilogue, implementation)
    saved = _Saved(
        structure,
        values,
        scale,
        bias,
        x=x if wanted[0] else None,
        product=product,
        wants_x=() if wanted[1] else None,
        results=results if epilogue.relu or epilogue.measures else (None,),
    )
    return results, saved


def _fused_backward(epilogue, implementation, saved: _Saved, cotangents):
    pattern, transposed, order, _ = saved.structure
    gz = _through_epilogue(epilogue, saved.results, cotangents)
    dtype = cotangents[0].dtype
    g_scale = g_bias = g_values = g_x = None
    if saved.bias is not None:
        g_bias = jnp.sum(gz, 0).astype(saved.bias.dtype)
    if saved.product is not None and saved.scale is not None:
        g_scale = jnp.sum(gz * saved.product, -1).astype(saved.scale.dtype)
    if saved.scale is not None:
        gz = gz * saved.scale[:, None].astype(gz.dtype)
    gz = gz.astype(dtype)  # what is gathered has the width of x
    if saved.x is not None:
        along = of_rows(pattern, gz) * saved.x[pattern.indices].astype(gz.dtype)
        wide = reference.compute_dtype(dtype)
        g_values = jnp.sum(along, -1, dtype=wide).astype(saved.values.dtype)
    if saved.wants_x is not None:
        # the very function, so that gradients of gradients find their way; only those need the sort
        back = Sparse(transposed, pattern, jnp.argsort(order), None)
        values = saved.values[order]
        (g_x,) = _fused(back, values, gz, None, None, PLAIN, implementation)
    return None, g_values, g_x, g_scale, g_bias


def _through_epilogue(epilogue: Epilogue, results: tuple, cotangents: tuple) -> jax.Array:
    """Cotangent of ``scale p + bias``, in the dtype of the sums."""
    (y, *squares), (gy, *gs) = results, cotangents
    wide = reference.compute_dtype(gy.dtype)
    gs = [None if isinstance(g, SymbolicZero) else g for g in gs]
    gy = jnp.zeros(gy.shape, wide) if isinstance(gy, SymbolicZero) else gy.astype(wide)
    y = None if y is None else y.astype(wide)
    return adjoint(y, squares[0] if squares else None, gy, gs[0] if gs else None, epilogue)


_fused.defvjp(_fused_forward, _fused_backward, symbolic_zeros=True)


def _run(arrays: tuple, epilogue: Epilogue, dtype, implementation: str | None) -> tuple:
    """``forward`` of the chosen implementation, with a batching rule of its own.

    ``arrays`` are pattern, values, x, scale, bias.
    """

    @custom_vmap
    def call(*arrays):
        return _choose(arrays, epilogue, dtype, implementation)

    @call.def_vmap
    def rule(size, batched, *arrays):
        own_matrix = any(jax.tree.leaves(batched[:2]))
        results = one_by_one(batched, arrays) if own_matrix else side_by_side(size, batched, arrays)
        return results, (True,) * len(results)

    def one_by_one(batched, arrays):
        leaves, tree = jax.tree.flatten(arrays)
        flags = jax.tree.leaves(batched)
        moving = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]

        def one(moving):
            rest = iter(moving)
            full = [next(rest) if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)]
            return _run(tree.unflatten(full), epilogue, dtype, implementation)

        return jax.lax.map(one, moving)

    def side_by_side(size, batched, arrays):
        pattern, values, x, scale, bias = arrays
        x = x if batched[2] else x[None]
        columns = jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)
        wide = reference.compute_dtype(x.dtype)
        (product,) = _run((pattern, values, columns, None, None), PLAIN, wide, implementation)
        product = jnp.moveaxis(product.reshape(-1, *x.shape[::2]), 1, 0)
        product = jnp.broadcast_to(product, (size, *product.shape[1:]))
        finish = partial(reference.after, epilogue=epilogue, dtype=dtype)
        axes = (0, *(0 if flag else None for flag in (batched[3], batched[4])))
        return jax.vmap(finish, axes)(product, scale, bias)

    return call(*arrays)


def _choose(arrays: tuple, epilogue: Epilogue, dtype, implementation: str | None) -> tuple:
    """Call ``forward`` of the chosen implementation."""
    options = {"epilogue": epilogue, "dtype": jnp.dtype(dtype)}
    plain: Callable = partial(reference.forward, **options)
    csr: Callable = partial(compiled_csr.forward, **options)
    tpu: Callable = partial(pallas_tpu.forward, **options)
    gpu: Callable = partial(pallas_gpu.forward, **options)
    forced = {
        "csr": csr,
        "tpu": tpu,
        "gpu": gpu,
        "interpret": partial(tpu, interpret=True),
        "interpret_gpu": partial(gpu, interpret=True),
    }
    pattern, values, x, *_ = arrays
    if 0 in (x.size, values.size, pattern.indptr.size - 1):
        return plain(*arrays)
    if implementation is not None:
        return forced[implementation](*arrays)
    return jax.lax.platform_dependent(*arrays, default=plain, cpu=csr, cuda=gpu)


def _check(matrix, x, epilogue, scale, bias, implementation) -> None:
    """Refuse wrong arguments with one line each."""
    if not isinstance(epilogue, Epilogue):
        raise ValueError(f"epilogue must be an Epilogue, found {type(epilogue).__name__}")
    if implementation is not None and implementation not in get_args(Implementation):
        names = ", ".join(get_args(Implementation))
        raise ValueError(f"implementation must be None or one of {names}, found {implementation!r}")
    n, m = matrix.shape
    if x.ndim < 2 or x.shape[0] != m:
        raise ValueError(f"a {n} x {m} matrix needs x of shape [{m}, d], found {list(x.shape)}")
    entries = matrix.pattern.indices.shape[0]
    expected = {"values": (entries,), "scale": (n,), "bias": (x.shape[-1],)}
    given = {"x": x, "values": matrix.values, "scale": scale, "bias": bias}
    for name, array in given.items():
        if array is None:
            continue
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating point, found {array.dtype}; cast it first")
        if name != "x" and array.shape != expected[name]:
            raise ValueError(
                f"{name} must have the shape {expected[name]}, found {tuple(array.shape)}"
            )
    if implementation in ("tpu", "interpret") and x.dtype not in pallas_tpu.DTYPES:
        raise ValueError(f"the TPU kernel takes float32 or bfloat16 x, found {x.dtype}; cast it")
