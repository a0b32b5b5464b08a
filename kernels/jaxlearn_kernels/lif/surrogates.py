"""Surrogate derivatives of the Heaviside step that makes a spike.

A neuron fires ``s = H(z)`` with ``z = u - threshold``; the derivative of H is zero almost
everywhere, so the backward pass uses one of these bumps in its place. All but ``fast_sigmoid``
are densities (they integrate to 1 over z), so that each is the derivative of a smoothed step.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


def triangle(z: jax.Array, alpha: float) -> jax.Array:
    """``max(0, alpha - alpha^2 |z|)``: peak alpha, support ``|z| <= 1/alpha`` (SLTT's default)."""
    return jnp.maximum(0.0, alpha - alpha**2 * jnp.abs(z))


def rectangle(z: jax.Array, alpha: float) -> jax.Array:
    """``alpha`` where ``|z| <= 1/(2 alpha)``, else 0: a window of width ``1/alpha``."""
    return jnp.where(jnp.abs(z) <= 0.5 / alpha, jnp.full_like(z, alpha), jnp.zeros_like(z))


def sigmoid(z: jax.Array, alpha: float) -> jax.Array:
    """``alpha sg(alpha z) (1 - sg(alpha z))`` with ``sg`` the logistic function: peak alpha/4."""
    y = jax.lax.logistic(alpha * z)
    return alpha * y * (1.0 - y)


def atan(z: jax.Array, alpha: float) -> jax.Array:
    """``(alpha/2) / (1 + (pi/2 alpha z)^2)``: peak alpha/2 (SNN-delays: 5, SpikeGPT: 2)."""
    y = (0.5 * math.pi * alpha) * z
    return (0.5 * alpha) / (1.0 + y * y)


def fast_sigmoid(z: jax.Array, alpha: float) -> jax.Array:
    """``1 / (1 + alpha |z|)^2``: peak 1 for every alpha, integral ``2/alpha`` (snnTorch)."""
    y = 1.0 + alpha * jnp.abs(z)
    return 1.0 / (y * y)


def gaussian(z: jax.Array, alpha: float) -> jax.Array:
    """``alpha/sqrt(2 pi) exp(-(alpha z)^2 / 2)``: the density of N(0, 1/alpha^2)."""
    y = alpha * z
    return (alpha / math.sqrt(2.0 * math.pi)) * jnp.exp(-0.5 * y * y)


class Surrogate(NamedTuple):
    """A surrogate derivative and the scale it is used with unless told otherwise.

    Attributes:
      derivative: ``(z, alpha) -> ds/du``, elementwise.
      alpha: default scale; larger is narrower.
    """

    derivative: Callable[[jax.Array, float], jax.Array]
    alpha: float


SURROGATES: dict[str, Surrogate] = {
    "triangle": Surrogate(triangle, 1.0),
    "rectangle": Surrogate(rectangle, 1.0),
    "sigmoid": Surrogate(sigmoid, 4.0),
    "atan": Surrogate(atan, 2.0),
    "fast_sigmoid": Surrogate(fast_sigmoid, 25.0),
    "gaussian": Surrogate(gaussian, 1.0),
}
"""Surrogates by name, with the default scales of the papers and libraries they come from."""
