"""Losses for boosting: the best constant, the residual and the Newton step of each.

Emami & Martinez-Munoz, "Sequential training of neural networks with gradient boosting", IEEE Access
11 (2023), arXiv 1909.12098.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import axis


class BoostingLoss(NamedTuple):
    """One row of the paper's table of losses; scores F and targets y are `[N, K]`.

    Attributes:
        initial: `y -> F_0 [K]`, the constant that boosting starts from.
        loss: `(y, F) -> [N]`, the loss of every example.
        residual: `(y, F) -> [N, K]`, what the next base learner is fitted to.
        newton: `(y, r, f) -> rho`, the length of the step along `f` given the residuals `r`.
        predict: `F -> outputs [N, K]`, probabilities or values.
        kappa: factor of the merged network's last layer, so that a logistic or softmax output on it
            gives the same probabilities.
    """

    initial: Callable[[jax.Array], jax.Array]
    loss: Callable[[jax.Array, jax.Array], jax.Array]
    residual: Callable[[jax.Array, jax.Array], jax.Array]
    newton: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    predict: Callable[[jax.Array], jax.Array]
    kappa: float = 1.0


def squared_error() -> BoostingLoss:
    """`(y - F)^2`, summed over outputs: F_0 is the mean, the residual `y - F`, the step 1.

    Example:
        >>> squared_error().initial(jnp.array([[1.0], [3.0]])).tolist()
        [2.0]
    """
    return BoostingLoss(
        initial=lambda y: axis.mean(jnp.mean(y, 0)),
        loss=lambda y, F: jnp.sum((y - F) ** 2, -1),
        residual=lambda y, F: y - F,
        newton=lambda y, r, f: jnp.ones(()),
        predict=lambda F: F,
    )


def binary_logistic() -> BoostingLoss:
    """`log(1 + exp(-2 y F))` with y in {-1, +1} and probabilities `sigmoid(2 F)`.

    F_0 is `log((1 + m) / (1 - m)) / 2` with m the mean of y, the residual `2 y / (1 + exp(2 y F))`,
    and the Newton step `sum r f / sum f^2 |r| (2 - |r|)`, whose denominator is the exact second
    derivative `4 f^2 p (1 - p)`. A sample of one class only is treated as one in ten million off.

    Example:
        >>> loss = binary_logistic()
        >>> y = jnp.array([[1.0], [1.0], [1.0], [-1.0]])
        >>> bool(jnp.isclose(loss.predict(loss.initial(y))[0], 0.75))
        True
    """

    def initial(y: jax.Array) -> jax.Array:
        mean = jnp.clip(axis.mean(jnp.mean(y, 0)), -1 + 1e-7, 1 - 1e-7)
        return 0.5 * (jnp.log1p(mean) - jnp.log1p(-mean))

    def newton(y: jax.Array, r: jax.Array, f: jax.Array) -> jax.Array:
        return _ratio(r * f, f**2 * y * r * (2 - y * r))

    return BoostingLoss(
        initial=initial,
        loss=lambda y, F: jnp.sum(jax.nn.softplus(-2 * y * F), -1),
        residual=lambda y, F: 2 * y * jax.nn.sigmoid(-2 * y * F),
        newton=newton,
        predict=lambda F: jax.nn.sigmoid(2 * F),
        kappa=2.0,
    )


def softmax_cross_entropy() -> BoostingLoss:
    """`-sum_k y_k log softmax_k(F)` with one-hot y; one learner serves all classes.

    F_0 is 0 rather than the class frequencies, the residual `y - softmax(F)`, and the one step for
    all classes `sum f r / sum f^2 p (1 - p)`, by the diagonal of the Hessian.

    Example:
        >>> loss = softmax_cross_entropy()
        >>> loss.residual(jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2))).tolist()
        [[0.5, -0.5]]
    """

    def newton(y: jax.Array, r: jax.Array, f: jax.Array) -> jax.Array:
        p = y - r
        return _ratio(r * f, f**2 * p * (1 - p))

    return BoostingLoss(
        initial=lambda y: jnp.zeros(y.shape[1]),
        loss=lambda y, F: -jnp.sum(y * jax.nn.log_softmax(F), -1),
        residual=lambda y, F: y - jax.nn.softmax(F),
        newton=newton,
        predict=jax.nn.softmax,
    )


def _ratio(numerators: jax.Array, denominators: jax.Array) -> jax.Array:
    """`sum / sum` over all devices; 0 where the residuals have vanished: there is no step."""
    above, below = axis.mean((jnp.mean(numerators), jnp.mean(denominators)))
    usable = below > jnp.finfo(below.dtype).tiny
    return jnp.where(usable, above / jnp.where(usable, below, 1), 0.0)
