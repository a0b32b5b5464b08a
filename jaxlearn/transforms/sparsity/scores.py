"""How much a weight is worth: trees of scores like the parameters, the largest of which are kept.

Scores that need a loss take `gradient(params)`, the gradient of that loss (`gradient_of` makes one
from a rule and a batch).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlearn.core import Batch, Key, Params, PyTree, Rule, keys

Score = Callable[[Params], PyTree]
"""`score(params)`: a number per weight, larger is better."""


def gradient_of(rule: Rule, batch: Batch, key: Key | None = None) -> Callable[[Params], PyTree]:
    """`params -> signal` of a rule on one batch, in the state that the rule starts with.

    Args:
        rule: whose signal is the gradient; `backprop` for the scores of the papers.
        batch: the examples.
        key: for rules that draw.
    """
    key = jax.random.key(0) if key is None else key

    def gradient(params: Params) -> PyTree:
        return rule.signal(params, rule.init(key, batch)[1], batch, key)[0]

    return gradient


def magnitude(params: Params) -> PyTree:
    """`|w|`.

    Example:
        >>> magnitude({"w": jnp.array([-2.0, 1.0])})["w"]
        Array([2., 1.], dtype=float32)
    """
    return jax.tree.map(jnp.abs, params)


def random(key: Key) -> Score:
    """A standard normal draw per weight, so that every choice is equally likely."""
    return lambda params: keys.normal_like(key, params, jnp.float32)


def gradient(of: Callable[[Params], PyTree]) -> Score:
    """`|dL/dw|`.

    Args:
        of: the gradient of the loss, see `gradient_of`.
    """
    return lambda params: magnitude(of(params))


def snip(gradient: Callable[[Params], PyTree]) -> Score:
    """`|w dL/dw|`, the loss that goes with the weight to first order.

    Lee et al., "SNIP: single-shot network pruning based on connection sensitivity", ICLR 2019,
    eq. 6; the normalisation of eq. 6 does not change the order.

    Example:
        >>> square = jax.grad(lambda params: jnp.sum(params["w"] ** 2) / 2)
        >>> snip(square)({"w": jnp.array([-3.0, 2.0])})["w"]
        Array([9., 4.], dtype=float32)
    """
    return lambda params: jax.tree.map(lambda w, g: jnp.abs(w * g), params, gradient(params))


def grasp(gradient: Callable[[Params], PyTree]) -> Score:
    """`w (H g)`, signed: how much of the gradient's norm the weight carries to first order.

    Taking out w changes `|g|^2 / 2` by `-w (H g)`. The weights whose removal raises it most, those
    with the smallest score here, go first, negative ones included (Wang, Zhang & Grosse, "Picking
    winning tickets before training by preserving gradient flow", ICLR 2020, eq. 8, whose score is
    the negative of this one). The product of Hessian and gradient is one forward derivative of the
    gradient.

    Example:
        >>> square = jax.grad(lambda params: jnp.sum(params["w"] ** 2) / 2)
        >>> grasp(square)({"w": jnp.array([-3.0, 2.0])})["w"]
        Array([9., 4.], dtype=float32)
    """

    def score(params: Params) -> PyTree:
        g = gradient(params)
        _, curved = jax.jvp(gradient, (params,), (g,))
        return jax.tree.map(jnp.multiply, params, curved)

    return score


def wanda(weight: jax.Array, norms: jax.Array) -> jax.Array:
    """`|w_ij| ||x_i||_2`: weights of one layer by the size of what they multiply.

    Sun et al., "A simple and effective pruning approach for large language models", ICLR 2024,
    eq. 1. They are compared within each output: `keep_per_output`.

    Args:
        weight: `[inputs, outputs]`.
        norms: `[inputs]`, of each input over some calibration examples, up to a common factor.

    Raises:
        ValueError: when they do not fit.

    Example:
        >>> wanda(jnp.array([[1.0], [-3.0]]), jnp.array([5.0, 1.0]))
        Array([[5.],
               [3.]], dtype=float32)
    """
    if weight.ndim != 2 or norms.shape != weight.shape[:1]:
        raise ValueError(
            f"wanda needs a weight [inputs, outputs] and norms [inputs], found {weight.shape} and "
            f"{norms.shape}"
        )
    return jnp.abs(weight) * norms[:, None]
