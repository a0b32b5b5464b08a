"""Random features of functions without a Fourier transform, by their power series."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import bernoulli

from jaxlearn.core import Key
from jaxlearn.models.layers.random_features.contract import Draws, Features, check_count


def power_series_features(
    function: str, count: int, *, degree: int = 11, decay: float = 0.5
) -> Features:
    """Features of `sum_n c_n (w . x + b)^n`, the power series of `f` up to a degree.

    Feature j draws a degree `n` with probability `p_n` proportional to `decay^n` (over the `n` with
    `c_n != 0`) and signs `s_1 .. s_n` in `{-1, 1}^(d+1)` (Kar and Karnick, 2012)::

        phi_j(x)    =           sqrt(|c_n| / (p_n count)) prod_k s_k . [x, 1]
        psi_j(w, b) = sign(c_n) sqrt(|c_n| / (p_n count)) prod_k s_k . [w, b]

    so that coefficients of both signs meet in one estimate. The expectation is the polynomial
    exactly; it is near `f` inside the radius of convergence: everywhere for `"gelu"` and `"exp"`,
    `|w . x + b| < pi / 2` for `"tanh"`, `pi` for `"softplus"`.

    Args:
        function: `"gelu"`, `"tanh"`, `"softplus"` or `"exp"`.
        count: number of features.
        degree: the highest power.
        decay: what a further factor multiplies the probability of a degree with.

    Raises:
        ValueError: for another function, `count < 1`, `degree < 0` or `decay` not in (0, 1].

    Example:
        >>> coefficients("softplus", 2).round(4).tolist()
        [0.6931, 0.5, 0.125]
    """
    check_count(count)
    if not 0 < decay <= 1:
        raise ValueError(f"decay must be in (0, 1], found {decay}")
    c = coefficients(function, degree)
    p = np.where(c != 0, decay ** np.arange(degree + 1), 0)
    p = p / p.sum()
    size = np.sqrt(np.abs(c) / np.where(p > 0, p, 1) / count)

    def draw(key: Key, inputs: int) -> Draws:
        degree_key, sign_key = jax.random.split(key)
        shape = (degree, count, inputs + 1)
        return {
            "degree": jax.random.choice(degree_key, degree + 1, (count,), p=jnp.asarray(p)),
            "signs": jax.random.rademacher(sign_key, shape, float),
        }

    def product(draws: Draws, v: jax.Array) -> jax.Array:
        sums = jnp.einsum("...d,kmd->k...m", v, draws["signs"].astype(v.dtype))
        order = jnp.arange(degree).reshape(-1, *[1] * v.ndim)
        factors = jnp.where(order < draws["degree"], sums, 1)
        return jnp.prod(factors, 0) * jnp.asarray(size, v.dtype)[draws["degree"]]

    def phi(draws: Draws, x: jax.Array) -> jax.Array:
        return product(draws, jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1))

    def psi(draws: Draws, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
        last = jnp.zeros_like(w[..., :1]) if b is None else b[..., None]
        sign = jnp.asarray(np.sign(c), w.dtype)[draws["degree"]]
        return sign * product(draws, jnp.concatenate([w, last], -1))

    return Features(draw, phi, psi)


def coefficients(function: str, degree: int) -> np.ndarray:
    """`c_0 .. c_degree` of the power series of `f` around 0, float64.

    Raises:
        ValueError: for a function without one here, or a negative degree.

    Example:
        >>> coefficients("tanh", 3).round(4).tolist()
        [0.0, 1.0, 0.0, -0.3333]
    """
    if function not in _SERIES:
        raise ValueError(f"no series of {function!r}; there are {', '.join(_SERIES)}")
    if degree < 0:
        raise ValueError(f"degree must be at least 0, found {degree}")
    return np.array([_SERIES[function](n) for n in range(degree + 1)])


def _gelu(n: int) -> float:
    """`z / 2 + sum_k (-1)^k z^(2k+2) / (sqrt(2 pi) 2^k k! (2k+1))`."""
    if n % 2 or n == 0:
        return 0.5 if n == 1 else 0.0
    k = n // 2 - 1
    return (-1) ** k / (math.sqrt(2 * math.pi) * 2**k * math.factorial(k) * (2 * k + 1))


def _tanh(n: int) -> float:
    """`4^m (4^m - 1) B_2m / (2m)!` for `n = 2m - 1`."""
    m = (n + 1) // 2
    return 4.0**m * (4.0**m - 1) * bernoulli(2 * m)[-1] / math.factorial(2 * m) if n % 2 else 0.0


def _softplus(n: int) -> float:
    """The integral of `1/2 + tanh(z/2) / 2` from `log 2` at 0."""
    if n < 2:
        return (math.log(2), 0.5)[n]
    return _tanh(n - 1) / 2**n / n


def _exp(n: int) -> float:
    return 1 / math.factorial(n)


_SERIES: dict[str, Callable[[int], float]] = {
    "gelu": _gelu,
    "tanh": _tanh,
    "softplus": _softplus,
    "exp": _exp,
}
