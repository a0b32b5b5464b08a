"""Bilinear resizing that keeps the corners in place."""

import jax
import jax.numpy as jnp
import numpy as np


def resize_aligned(x: jax.Array, side: int) -> jax.Array:
    """Interpolate `[batch, H, W, C]` to `[batch, side, side, C]`, corners on corners.

    Output position i of an axis of length n reads the input at `i (n - 1) / (side - 1)`, linearly
    between its two neighbours: PyTorch's bilinear interpolation with `align_corners=True`.

    Raises:
        ValueError: when `x` is not of rank 4 or `side` is not positive.

    Example:
        >>> resize_aligned(jnp.array([0.0, 2.0]).reshape(1, 1, 2, 1), 3)[0, 0, :, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    if x.ndim != 4 or side < 1:
        raise ValueError(f"expected [batch, H, W, C] and side >= 1, found {x.shape} and {side}")
    rows, columns = (jnp.asarray(_weights(n, side), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _weights(n: int, side: int) -> np.ndarray:
    place = np.linspace(0, n - 1, side) if side > 1 else np.zeros(1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(n)[None]))
