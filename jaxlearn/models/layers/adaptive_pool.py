"""Average pooling to a given size."""

import jax
import jax.numpy as jnp
import numpy as np


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """Average `[batch, H, W, C]` to `[batch, size, size, C]`, as PyTorch's adaptive pooling does.

    Output cell i along an axis of length n is the mean over `floor(i n / size)` up to, not
    including, `ceil((i + 1) n / size)`; cells overlap where `size` does not divide n.

    Raises:
        ValueError: when `x` is not of rank 4.

    Example:
        >>> adaptive_average_pool(jnp.arange(3.0).reshape(1, 1, 3, 1), 1)[0, 0, 0, 0].item()
        1.0
    """
    if x.ndim != 4:
        raise ValueError(f"adaptive_average_pool takes [batch, H, W, C], found shape {x.shape}")
    rows, columns = (jnp.asarray(_weights(n, size), x.dtype) for n in x.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, x)


def _weights(n: int, size: int) -> np.ndarray:
    cell, place = np.arange(size)[:, None], np.arange(n)[None]
    inside = (place >= cell * n // size) & (place < -(-(cell + 1) * n // size))
    return inside / inside.sum(1, keepdims=True)
