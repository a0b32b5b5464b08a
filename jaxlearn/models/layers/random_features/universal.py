"""Universal random features: any activation with a Fourier transform, without bias."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlearn.core import Key
from jaxlearn.models.layers.random_features.contract import Draws, Features, check_count
from jaxlearn.models.layers.random_features.projections import directions
from jaxlearn.models.layers.random_features.spectra import SPECTRA, Spectrum

Form = Literal["symmetric", "asymmetric", "trigonometric"]
LARGEST = 30.0
"""Real exponents are cut off here: a product of two features stays finite in float32."""


def universal_features(
    function: str | Spectrum,
    count: int,
    *,
    form: Form = "symmetric",
    knob: float = 0.0,
    blocks: bool = False,
) -> Features:
    """Features of `f(w . x + b)` for `f(z) = E[c exp(r z)]` (Sehanobish et al., 2024, section 3).

    With `A = knob`, `s = sqrt(1 + 4 A)`, directions `g_j` and rates `r_j = alpha_j beta_j`, ::

        phi_j = s^(d/2) exp(-A |g|^2 + s alpha g.x - alpha^2 |x|^2 / 2) / sqrt(count)
        psi_j = c exp(r b) s^(d/2) exp(-A |g|^2 + s beta g.w - beta^2 |w|^2 / 2) / sqrt(count)

    and `f(w . x + b)` is the expectation of the real part of `sum_j phi_j psi_j`. Complex features
    are returned as real ones, `[re phi, im phi]` against `[re psi, -im psi]`, whose scalar product
    is that real part; so the width is `2 count`, or `count` where `phi` is real.

    Args:
        function: a name of `SPECTRA` or a spectrum.
        count: number of random directions.
        form: how the rate is shared. `"symmetric"`: `alpha = beta = sqrt(r)`. `"asymmetric"`:
            `alpha = 1`, so `phi` is real and positive, and the real part of `psi` is the mean over
            the frequencies `+r` and `-r`. `"trigonometric"`: `alpha = i`, sines and cosines of
            `g.x`.
        knob: `A > -1/4` moves the variance and not the mean; below `-1/8` it is infinite.
        blocks: draw the directions orthogonal within blocks.

    Raises:
        ValueError: for an unknown function or form, `knob <= -1/4`, or no feature.

    Example:
        >>> features = universal_features("cos", 4096, form="asymmetric")
        >>> draws = features.draw(jax.random.key(0), 3)
        >>> x, w, b = jnp.array([0.3, -0.2, 0.1]), jnp.array([[0.5, 0.4, -0.3]]), jnp.array([0.2])
        >>> bool(abs(features.estimate(draws, x, w, b)[0] - jnp.cos(0.24)) < 0.05)
        True
    """
    check_count(count)
    spectrum = _spectrum(function)
    if form not in ("symmetric", "asymmetric", "trigonometric"):
        raise ValueError(
            f"form must be 'symmetric', 'asymmetric' or 'trigonometric', found {form!r}"
        )
    if knob <= -0.25:
        raise ValueError(f"knob must be above -1/4, found {knob}")
    real = form == "asymmetric" or (form == "symmetric" and spectrum.positive)

    def draw(key: Key, inputs: int) -> Draws:
        direction_key, rate_key = jax.random.split(key)
        t = spectrum.sample(rate_key, (count,))
        rate = spectrum.rate(t)
        return {
            "directions": directions(direction_key, count, inputs, blocks),
            "rate": _pair(rate),
            "weight": _pair(spectrum.weight(t)),
            "alpha": _pair(_alpha(form, rate)),
            "beta": _pair(rate / _alpha(form, rate)),
        }

    def phi(draws: Draws, x: jax.Array) -> jax.Array:
        re, im = _exponent(draws["directions"], draws["alpha"], x, knob)
        size = _size(re, x.shape[-1], count, knob)
        if real:
            return size
        return jnp.concatenate([size * jnp.cos(im), size * jnp.sin(im)], -1)

    def psi(draws: Draws, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        re, im = _exponent(draws["directions"], draws["beta"], w, knob)
        if b is not None:
            re, im = re + draws["rate"][0] * b[..., None], im + draws["rate"][1] * b[..., None]
        size, (weight, turned) = _size(re, w.shape[-1], count, knob), draws["weight"]
        cos, sin = jnp.cos(im), jnp.sin(im)
        first = size * (weight * cos - turned * sin)
        return (
            first if real else jnp.concatenate([first, -size * (weight * sin + turned * cos)], -1)
        )

    return Features(draw, phi, psi)


def _spectrum(function: str | Spectrum) -> Spectrum:
    if isinstance(function, Spectrum):
        return function
    if function not in SPECTRA:
        raise ValueError(f"no spectrum is called {function!r}; there are {', '.join(SPECTRA)}")
    return SPECTRA[function]


def _alpha(form: Form, rate: jax.Array) -> jax.Array:
    if form == "symmetric":
        return jnp.sqrt(rate)
    return jnp.full_like(rate, 1 if form == "asymmetric" else 1j)


def _pair(values: jax.Array) -> jax.Array:
    return jnp.stack([values.real, values.imag])


def _exponent(
    directions: jax.Array, factor: jax.Array, v: jax.Array, knob: float
) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part of `-A |g|^2 + s a g.v - a^2 |v|^2 / 2`, `[..., count]` each."""
    re, im = factor
    projected = math.sqrt(1 + 4 * knob) * (v @ directions.T)
    square = jnp.sum(v * v, -1, keepdims=True)
    penalty = knob * jnp.sum(directions * directions, -1)
    real = re * projected - (re * re - im * im) * square / 2 - penalty
    return real, im * projected - re * im * square


def _size(exponent: jax.Array, inputs: int, count: int, knob: float) -> jax.Array:
    # in the exponent, where a power of 1 + 4 A cannot overflow on its own
    shift = inputs / 4 * math.log1p(4 * knob) - math.log(count) / 2
    return jnp.exp(jnp.minimum(exponent + shift, LARGEST))
