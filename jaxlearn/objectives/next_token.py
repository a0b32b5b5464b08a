"""The loss of language models."""

import math

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxlearn.core.contracts import Batch, Metrics, Objective
from jaxlearn.objectives.classification import weighted_mean


def next_token(l2_wrap: float = 0.0) -> Objective:
    """Cross-entropy of the next token: the mean of `-log softmax(logits[b, t])[label[b, t]]`.

    With `l2_wrap` the gradient also pulls down each token's largest logit: it gains
    `l2_wrap max_logit / (B T)` there and nothing elsewhere, while the loss stays what it is (RWKV's
    L2Wrap, with 1e-4).

    Outputs are `[batch, T, vocabulary]`, labels int `[batch, T]`. Metrics: the loss in nats, `bits`
    per token, accuracy. Logits of half precision are read as float32.

    Example:
        >>> loss, metrics = next_token()(jnp.zeros((1, 3, 8)), {"labels": jnp.array([[0, 5, 7]])})
        >>> round(float(metrics["bits"]), 5)
        3.0
    """

    def objective(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        logits = _single(logits)
        loss = weighted_mean(nats(logits, batch), batch)
        right = jnp.argmax(logits, -1) == batch["labels"]
        metrics = {"loss": loss, "bits": loss / math.log(2)}
        metrics["accuracy"] = weighted_mean(right.mean(-1), batch)
        if l2_wrap:
            top = jnp.take_along_axis(logits, jnp.argmax(logits, -1, keepdims=True), -1)
            pull = 0.5 * l2_wrap * weighted_mean(jnp.square(top[..., 0]).mean(-1), batch)
            loss = loss + (pull - lax.stop_gradient(pull))
        return loss, metrics

    return objective


def nats(logits: jax.Array, batch: Batch) -> jax.Array:
    """The mean cross-entropy of each example's tokens, `[batch]`."""
    labels = batch["labels"]
    return optax.softmax_cross_entropy_with_integer_labels(_single(logits), labels).mean(-1)


def _single(logits: jax.Array) -> jax.Array:
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
