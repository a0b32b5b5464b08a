"""The pair of maps that every kind of random features is."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import Key

Draws = dict[str, jax.Array]
"""What was drawn once and is never trained; both maps of a pair read the same draws."""


class Features(NamedTuple):
    """Two maps whose scalar product stands for a layer (Sehanobish et al., ICLR 2024, eq. 1).

    Attributes:
        draw: `(key, inputs) -> draws` for vectors of so many entries.
        phi: `(draws, x [..., inputs]) -> [..., width]`.
        psi: `(draws, w [rows, inputs], b [rows] or None) -> [rows, width]`.
        takes_bias: whether `psi` has a place for `b`; if not, it refuses one.
    """

    draw: Callable[[Key, int], Draws]
    phi: Callable[[Draws, jax.Array], jax.Array]
    psi: Callable[[Draws, jax.Array, jax.Array | None], jax.Array]
    takes_bias: bool = True

    def estimate(
        self, draws: Draws, x: jax.Array, w: jax.Array, b: jax.Array | None = None
    ) -> jax.Array:
        """`phi(x) . psi(w, b)` for all pairs: `[..., inputs]` and `[rows, inputs] -> [..., rows]`.

        Example:
            >>> exact = identity_features()
            >>> exact.estimate({}, jnp.array([1.0, 2.0]), jnp.array([[3.0, 4.0]])).item()
            11.0
        """
        return self.phi(draws, x) @ self.psi(draws, w, b).T


def identity_features() -> Features:
    """`phi(x) = x` and `psi(w) = w`: the linear layer itself, exact and without draws.

    The last layer of a bundle, which has no activation, is one of these.
    """
    psi = lambda draws, w, b: without(b, w)
    return Features(lambda key, inputs: {}, lambda draws, x: x, psi, takes_bias=False)


def scaled(features: Features, by: float | None = None) -> Features:
    """The features of `by x` and `by w`, so of the kernel `f(by^2 w . x + b)`.

    `by` is `inputs^(-1/4)` by default, which keeps exponents of order 1 and estimates
    `f(w . x / sqrt(inputs) + b)`.
    """
    factor = lambda v: v.shape[-1] ** -0.25 if by is None else by
    return Features(
        features.draw,
        lambda draws, x: features.phi(draws, factor(x) * x),
        lambda draws, w, b: features.psi(draws, factor(w) * w, b),
        features.takes_bias,
    )


def normalized(features: Features, norm: float | None = None) -> Features:
    """The features of `x` and `w` with every row rescaled to one norm, `inputs^(1/4)` by default.

    Rows of zeros stay zero.
    """

    def rescaled(v: jax.Array) -> jax.Array:
        square = jnp.sum(v * v, -1, keepdims=True)
        target = v.shape[-1] ** 0.25 if norm is None else norm
        # the inner where keeps the gradient at rows of zeros finite
        return v * jnp.where(square > 0, target / jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

    return Features(
        features.draw,
        lambda draws, x: features.phi(draws, rescaled(x)),
        lambda draws, w, b: features.psi(draws, rescaled(w), b),
        features.takes_bias,
    )


def without(b: jax.Array | None, w: jax.Array) -> jax.Array:
    """`w`, for maps whose kernel has no place for a bias.

    Raises:
        ValueError: when there is one.
    """
    if b is not None:
        raise ValueError(
            "these features take no bias; append b to w and 1 to x, or add a bias to the output"
        )
    return w


def check_count(count: int) -> None:
    """Refuse fewer than one feature with a ValueError."""
    if count < 1:
        raise ValueError(f"count must be at least 1 feature, found {count}")
