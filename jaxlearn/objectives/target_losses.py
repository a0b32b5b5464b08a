"""Losses between what a layer gives and the target it is given, and objectives made of them.

Lomnitz, Daniels, Zhang, Piacentino, "Learning with local gradients at the edge", 2022 (arXiv
2208.08503): a layer with outputs y learns towards the target `t = P y*`, the one-hot label y* sent
through a fixed random matrix P, under any loss of t and y. The columns of P are the *codes* of the
classes; an array of codes has the classes on axis 0 and the layer's units on the others.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Batch, Metrics, Objective
from jaxlearn.objectives.classification import weighted_mean

TargetLoss = Callable[[jax.Array, jax.Array], jax.Array]
"""`loss(target [B, ...], outputs [B, ...]) -> [B]`: a sum over units, one number per example."""


class Projected(NamedTuple):
    """A layer's outputs with the codes that its targets are made of.

    Attributes:
        outputs: y, `[B, ...units]`.
        codes: the columns of P, `[classes, ...units]`, or 1 along axes that share their target.
    """

    outputs: jax.Array
    codes: jax.Array


def _total(values: jax.Array) -> jax.Array:
    return values.sum(tuple(range(1, values.ndim)))


def l2(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """`1/2 sum (t - y)^2`; its gradient is `-(t - y)`, so no factor 2 is left for the rate.

    Example:
        >>> l2(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]])).tolist()
        [2.5]
    """
    return 0.5 * _total((target - outputs) ** 2)


def l1(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """`sum |t - y|`; its gradient, `-sign(t - y)`, knows the direction of an error only."""
    return _total(jnp.abs(target - outputs))


def huber(delta: float = 1.0) -> TargetLoss:
    """`l2` for errors up to delta and `delta (|t - y| - delta / 2)`, of slope delta, beyond.

    Raises:
        ValueError: when delta is not positive.
    """
    if not delta > 0:
        raise ValueError(f"delta must be positive, found {delta}")

    def loss(target: jax.Array, outputs: jax.Array) -> jax.Array:
        size = jnp.abs(target - outputs)
        near = jnp.minimum(size, delta)
        return _total(near * (size - near / 2))

    return loss


def cosine(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """`1 - <t, y> / (|t| |y|)`: the direction of the outputs counts, their length does not."""
    return 1 - alignment(target, outputs)


def bce_with_logits(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """`-sum t log s(y) + (1 - t) log(1 - s(y))`, s the logistic function; targets in [0, 1]."""
    return _total(jax.nn.softplus(outputs) - target * outputs)


def linear(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """`-<t, y>`: the target is the teaching signal itself, whatever the layer gives (DRTP)."""
    return -_total(target * outputs)


LOSSES: dict[str, TargetLoss] = {
    "l2": l2,
    "l1": l1,
    "huber": huber(),
    "cosine": cosine,
    "bce": bce_with_logits,
    "linear": linear,
}


def alignment(target: jax.Array, outputs: jax.Array) -> jax.Array:
    """The cosine between target and outputs of every example, `[B]`; 0 where one is zero."""
    lengths = (_total(target**2) * _total(outputs**2) + 1e-24) ** 0.5
    return _total(target * outputs) / lengths


def target_of(projected: Projected, batch: Batch) -> jax.Array:
    """`t = P y*` in the shape of the outputs.

    Args:
        projected: outputs and codes.
        batch: with `"labels"`, int `[B]`, or `[B, classes]`, a distribution for each example.
    """
    labels, codes = batch["labels"], projected.codes
    if jnp.issubdtype(labels.dtype, jnp.floating):
        target = jnp.tensordot(labels, codes, 1)
    else:
        target = codes[labels]
    return jnp.broadcast_to(target, projected.outputs.shape)


def to_target(loss: TargetLoss) -> Objective:
    """The objective `mean_b loss(P y*_b, y_b)` of `Projected` outputs.

    Its metrics are the loss and `"alignment"`, the mean cosine between target and outputs.

    Example:
        >>> codes = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> projected = Projected(jnp.array([[1.0, 0.0], [1.0, 1.0]]), codes)
        >>> float(to_target(l2)(projected, {"labels": jnp.array([0, 1])})[0])
        0.25
    """

    def objective(projected: Projected, batch: Batch) -> tuple[jax.Array, Metrics]:
        target = target_of(projected, batch)
        value = weighted_mean(loss(target, projected.outputs), batch)
        near = weighted_mean(alignment(target, projected.outputs), batch)
        return value, {"loss": value, "alignment": near}

    return objective


def nearness(projected: Projected) -> jax.Array:
    """`-|P e_c - y|^2` for every class c, `[B, classes]`: the largest names the nearest code.

    Example:
        >>> codes = jnp.array([[1.0, 0.0], [0.0, 2.0]])
        >>> nearness(Projected(jnp.array([[0.0, 1.0]]), codes)).tolist()
        [[-2.0, -1.0]]
    """
    y = projected.outputs
    codes = jnp.broadcast_to(projected.codes, (len(projected.codes), *y.shape[1:]))
    y, codes = y.reshape(len(y), -1), codes.reshape(len(codes), -1)
    return 2 * y @ codes.T - (codes**2).sum(-1) - (y**2).sum(-1, keepdims=True)
