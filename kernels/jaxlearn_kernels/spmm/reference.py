"""The definition, in plain array operations: gather, scale, add up by row, finish."""

import jax
import jax.numpy as jnp

from jaxlearn_kernels.spmm.epilogue import Epilogue, finish
from jaxlearn_kernels.spmm.matrix import Pattern, sum_rows


def compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of sums for x of ``dtype``: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)


def by_segments(pattern: Pattern, values: jax.Array, x: jax.Array) -> jax.Array:
    """``p_i = sum over entries (i, j) of values_ij x_j``: ``[m, d] -> [n, d]``."""
    return sum_rows(pattern, values[:, None] * x[pattern.indices])


def forward(
    pattern: Pattern,
    values: jax.Array,
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    epilogue: Epilogue,
    dtype: jnp.dtype,
) -> tuple[jax.Array, ...]:
    """``(y [n, d] of dtype,)``, and ``squares [n, 1]`` as second if the epilogue measures rows."""
    wide = compute_dtype(x.dtype)
    product = by_segments(pattern, values.astype(wide), x.astype(wide))
    return after(product, scale, bias, epilogue=epilogue, dtype=dtype)


def after(
    product: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    epilogue: Epilogue,
    dtype: jnp.dtype,
) -> tuple[jax.Array, ...]:
    """The results of ``forward`` from a finished product ``[n, d]``, ``scale`` being ``[n]``."""
    y, *squares = finish(product, None if scale is None else scale[:, None], bias, epilogue)
    return y.astype(dtype), *squares
