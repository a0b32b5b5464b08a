"""What a WKV recurrence remembers between two tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

NOTHING = -1e38
"""The log-scale of an empty sum: far below any other, and finite, so that differences exist."""


class WkvState(NamedTuple):
    """Both sums of the recurrence after t tokens, divided by ``exp(m)`` so that neither overflows.

    ::

        P = sum_{i<t} e^{w (t-1-i) + k_i - m} v_i        Q = sum_{i<t} e^{w (t-1-i) + k_i - m}

    The scale m is chosen without gradient: what is written with it does not depend on it.

    Attributes:
      P: the numerator ``[..., C]``.
      Q: the denominator ``[..., C]``.
      m: the largest exponent so far ``[..., C]``.
    """

    P: jax.Array
    Q: jax.Array
    m: jax.Array


def start(features: tuple[int, ...], dtype: jnp.dtype | type = jnp.float32) -> WkvState:
    """The state before the first token: both sums are empty.

    >>> [a.tolist() for a in start((2,))[:2]], start((2,)).m.shape
    ([[0.0, 0.0], [0.0, 0.0]], (2,))
    """
    empty = jnp.zeros(features, dtype)
    return WkvState(empty, empty, jnp.full(features, NOTHING, dtype))


def compute_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """The dtype of states for inputs of ``dtype``: float32, or float64 for float64."""
    return jnp.promote_types(dtype, jnp.float32)
