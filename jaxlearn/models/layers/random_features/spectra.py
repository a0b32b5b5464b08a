"""Functions as mixtures of exponentials: `f(z) = E[weight(r) exp(r z)]` over random rates `r`.

With imaginary rates `r = 2 pi i xi` this is the Fourier transform of `f`, split into a density
`p(xi)` and a complex weight that holds the total mass and the signs: `F(xi) = weight(xi) p(xi)`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import Key


class Spectrum(NamedTuple):
    """How to draw rates and weigh them.

    Attributes:
        function: `f`, elementwise.
        sample: `(key, shape) -> t`, real.
        rate: `t -> r`, complex.
        weight: `t -> weight`, complex.
        positive: whether all rates are positive, and so the symmetric features real.
    """

    function: Callable[[jax.Array], jax.Array]
    sample: Callable[[Key, tuple[int, ...]], jax.Array]
    rate: Callable[[jax.Array], jax.Array]
    weight: Callable[[jax.Array], jax.Array]
    positive: bool = False


def fourier(
    function: Callable[[jax.Array], jax.Array],
    sample: Callable[[Key, tuple[int, ...]], jax.Array],
    weight: Callable[[jax.Array], jax.Array] = jnp.ones_like,
) -> Spectrum:
    """`f(z) = E[weight(t) exp(i t z)]` with `t = 2 pi xi` drawn by `sample`.

    Example:
        >>> bump = fourier(lambda z: jnp.exp(-z * z / 2), jax.random.normal)
        >>> t = bump.sample(jax.random.key(0), (10_000,))
        >>> bool(abs((bump.weight(t) * jnp.exp(bump.rate(t) * 0.5)).mean() - 0.8825) < 0.02)
        True
    """
    return Spectrum(function, sample, lambda t: 1j * t, lambda t: weight(t) + 0j)


def _signs(key: Key, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.rademacher(key, shape, float)


def _one(key: Key, shape: tuple[int, ...]) -> jax.Array:
    del key
    return jnp.ones(shape)


def _uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1.0)


def _hyperbolic_secant(key: Key, shape: tuple[int, ...]) -> jax.Array:
    u = jax.random.uniform(key, shape, minval=1e-6, maxval=1 - 1e-6)
    return 2 / jnp.pi * jnp.log(jnp.tan(jnp.pi / 2 * u))


COS = fourier(jnp.cos, _signs)
SIN = fourier(jnp.sin, _signs, lambda t: -1j * t)
EXP = Spectrum(jnp.exp, _one, lambda t: t + 0j, lambda t: jnp.ones_like(t) + 0j, positive=True)
COSH = Spectrum(jnp.cosh, _signs, lambda t: t + 0j, lambda t: jnp.ones_like(t) + 0j)
SINH = Spectrum(jnp.sinh, _signs, lambda t: t + 0j, lambda t: t + 0j)
GAUSSIAN = fourier(lambda z: jnp.exp(-z * z / 2), jax.random.normal)
SINC = fourier(lambda z: jnp.sinc(z / jnp.pi), _uniform)
SECH = fourier(lambda z: 1 / jnp.cosh(z), _hyperbolic_secant)

SPECTRA = {
    "cos": COS,
    "sin": SIN,
    "exp": EXP,
    "cosh": COSH,
    "sinh": SINH,
    "gaussian": GAUSSIAN,
    "sinc": SINC,
    "sech": SECH,
}
"""By name: `cos z`, `sin z`, `e^z`, `cosh z`, `sinh z`, `e^(-z^2/2)`, `sin(z)/z`, `1/cosh z`."""
