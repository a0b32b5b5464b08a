"""What is done to each row of a product before it is written, and the way back.

The reference and both kernels call these functions on their rows: the formulas stand once.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Epilogue:
    """Options of what follows the product ``p = A x``, row by row.

    ::

        h = scale p + bias             scale [n] and bias [d] are arrays, both optional
        h = max(h, 0)                  relu
        s = ||h||^2                    squared_norm: returned as a second result [n]
        y = h / (||h|| + eps)          normalize

    Squared norm and normalisation are what a forward-forward layer passes on: the goodness of its
    output and the output with that goodness taken away (Hinton, "The forward-forward algorithm",
    2022, section 2). Hashable, so that it can be a static argument of ``jax.jit``.

    Attributes:
      relu: cut off below 0.
      normalize: divide each row by its length.
      squared_norm: also return the squared length of each row, before the normalisation.
      eps: added to the length.

    Raises:
      ValueError: ``eps`` is not a positive finite number.

    >>> Epilogue(relu=True, normalize=True).measures
    True
    """

    relu: bool = False
    normalize: bool = False
    squared_norm: bool = False
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not isinstance(self.eps, int | float) or not 0 < self.eps < math.inf:
            raise ValueError(f"eps must be a positive finite number, found {self.eps!r}")

    @property
    def measures(self) -> bool:
        """Whether the length of rows is needed, which takes whole rows at once."""
        return self.normalize or self.squared_norm


def length(squares: jax.Array) -> jax.Array:
    """``sqrt(squares)`` with derivative 0 at 0, where the root has none."""
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def finish(
    p: jax.Array, scale: jax.Array | None, bias: jax.Array | None, options: Epilogue
) -> tuple[jax.Array, ...]:
    """``(y [..., d],)``, and ``squares [..., 1]`` as second where the options measure rows.

    Args:
      p: rows of the product ``[..., d]``, in the dtype to compute in.
      scale: one factor per row, ``[..., 1]``, or None.
      bias: ``[d]`` or anything that broadcasts to p, or None.
      options: what to do.

    >>> y, squares = finish(
    ...     jnp.array([[3.0, -4.0]]), None, None, Epilogue(relu=True, normalize=True)
    ... )
    >>> y.tolist(), squares.tolist()
    ([[1.0, 0.0]], [[9.0]])
    """
    h = p if scale is None else scale * p
    h = h if bias is None else h + bias
    h = jnp.maximum(h, 0) if options.relu else h
    if not options.measures:
        return (h,)
    squares = jnp.sum(h * h, axis=-1, keepdims=True)
    return (h / (length(squares) + options.eps) if options.normalize else h), squares


def adjoint(
    y: jax.Array | None,
    squares: jax.Array | None,
    gy: jax.Array,
    gs: jax.Array | None,
    options: Epilogue,
) -> jax.Array:
    """Cotangent of ``scale p + bias`` from those of ``y`` and of the squared norms.

    ::

        gh = (gy - h <gy, y> / ||h||) / (||h|| + eps) + 2 gs h    with h = y (||h|| + eps)
        gz = gh [h > 0]

    Args:
      y: the result ``[n, d]``; may be None for options that do nothing.
      squares: ``[n, 1]``, where the options measure rows.
      gy: ``[n, d]``.
      gs: ``[n, 1]``, or None for no gradient from the squared norms.
      options: those of the forward pass.
    """
    if y is None:
        return gy
    h, gh = y, gy
    if options.normalize and squares is not None:
        size = length(squares)
        h = y * (size + options.eps)
        along = jnp.sum(gy * y, axis=-1, keepdims=True) / jnp.where(size > 0, size, 1)
        gh = (gy - h * along) / (size + options.eps)
    if gs is not None:
        gh = gh + 2 * gs * h
    return jnp.where(y > 0, gh, 0) if options.relu else gh
