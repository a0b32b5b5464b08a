"""What a linear classifier can read from a frozen representation.

Alain & Bengio, "Understanding intermediate layers using linear classifier probes", 2016 (arXiv
1610.01644).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlearn.objectives import cross_entropy


class Probe(NamedTuple):
    """A trained probe: `logits = ((features - mean) / std) W + b`.

    Attributes:
        mean: of the training features.
        std: likewise, 1 where a feature is constant.
        weights: `[features, classes]`.
        bias: `[classes]`.
    """

    mean: jax.Array
    std: jax.Array
    weights: jax.Array
    bias: jax.Array

    def logits(self, features: jax.Array) -> jax.Array:
        """`[examples, ...] -> [examples, classes]`."""
        return (_flat(features) - self.mean) / self.std @ self.weights + self.bias

    def accuracy(self, features: jax.Array, labels: jax.Array) -> jax.Array:
        """The share of examples that the probe classifies rightly."""
        return jnp.mean(self.logits(features).argmax(-1) == labels)


def linear_probe(
    features: jax.Array, labels: jax.Array, classes: int, *, l2: float = 1e-3, steps: int = 100
) -> Probe:
    """Fit multinomial logistic regression to standardised features.

    Minimises `mean cross-entropy + l2 / 2 |W|^2`, which is convex, by L-BFGS from zero.

    Args:
        features: `[examples, ...]`, flattened after axis 0.
        labels: int `[examples]`.
        classes: number of classes.
        l2: the penalty.
        steps: of L-BFGS.

    Raises:
        ValueError: when features and labels disagree on the number of examples.

    Example:
        >>> probe = linear_probe(jnp.array([[0.0], [1.0], [2.0]]), jnp.array([0, 0, 1]), 2)
        >>> float(probe.accuracy(jnp.array([[-1.0], [3.0]]), jnp.array([0, 1])))
        1.0
    """
    if len(features) != len(labels):
        raise ValueError(f"found {len(features)} rows of features and {len(labels)} labels")
    x = _flat(features)
    mean, std = x.mean(0), x.std(0)
    varies = std > 1e-6 * jnp.abs(mean)  # what is left of a constant feature is rounding
    std = jnp.where(varies, std, 1.0)
    scaled = jnp.where(varies, (x - mean) / std, 0.0)
    weights, bias = _fit(scaled, labels, classes, l2, steps)
    return Probe(mean, std, weights, bias)


def _fit(x: jax.Array, labels: jax.Array, classes: int, l2: float, steps: int):
    tx = optax.lbfgs()

    def loss(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        weights, bias = params
        entropy, _ = cross_entropy(x @ weights + bias, {"labels": labels})
        return entropy + l2 / 2 * jnp.sum(weights**2)

    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry, _):
        params, state = carry
        value, grad = value_and_grad(params, state=state)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    start = jnp.zeros((x.shape[1], classes), x.dtype), jnp.zeros(classes, x.dtype)
    (params, _), _ = jax.lax.scan(step, (start, tx.init(start)), length=steps)
    return params


def _flat(features: jax.Array) -> jax.Array:
    return jnp.asarray(features, jnp.result_type(float)).reshape(len(features), -1)
