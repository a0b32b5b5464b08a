"""Cross-entropy with targets that are distributions, and distances to softened predictions."""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core.contracts import Batch, Metrics, Objective
from jaxlearn.objectives.classification import accuracy, cross_entropy, weighted_mean

TARGET = "target"
"""Key of a batch: `[batch, ..., classes]`, the distribution that each example is taught."""
PREDICTIONS = "predictions"
"""Name of the one metric that is no scalar; the rule that asked for it takes it out again."""
TEACHER = "teacher"
"""Key of a batch: `[batch, classes]`, the logits of another network."""


def soft_cross_entropy(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """`mean_i -sum_k t_ik log softmax(logits_i)_k` with `t = batch["target"]`.

    Labels and targets may have axes between examples and classes (tokens), which are averaged. The
    gradient with respect to the logits of an example is `softmax(logits) - t`.

    Args:
        logits: `[batch, ..., classes]`.
        batch: with `"target"`, like the logits, and `"labels"`, int `[batch, ...]`.

    Example:
        >>> batch = {"target": jnp.array([[0.5, 0.5]]), "labels": jnp.array([1])}
        >>> loss, _ = soft_cross_entropy(jnp.zeros((1, 2)), batch)
        >>> bool(jnp.isclose(loss, jnp.log(2)))
        True
    """
    losses = optax.softmax_cross_entropy(logits, batch[TARGET])
    loss = weighted_mean(_per_example(losses), batch)
    right = _per_example(logits.argmax(-1) == batch["labels"])
    return loss, {"loss": loss, "accuracy": weighted_mean(right, batch)}


def label_smoothing(epsilon: float) -> Objective:
    """Cross-entropy with the target `(1 - epsilon) onehot(y) + epsilon / classes`.

    Szegedy et al., CVPR 2016, section 7.

    Raises:
        ValueError: when `epsilon` is not in [0, 1].
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must lie in [0, 1], found {epsilon}")

    def objective(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        hard = jax.nn.one_hot(batch["labels"], logits.shape[-1])
        return soft_cross_entropy(logits, batch | {TARGET: optax.smooth_labels(hard, epsilon)})

    return objective


def remembered(objective: Objective) -> Objective:
    """The objective, with `softmax(logits)` among its metrics for the rule around it to keep.

    The predictions are those of the very pass that the loss is taken of, and constants. Over time
    the mean of the steps' predictions arrives.
    """

    def kept(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        loss, metrics = objective(logits, batch)
        return loss, metrics | {PREDICTIONS: jax.nn.softmax(jax.lax.stop_gradient(logits))}

    return kept


def softened_kl(teacher: jax.Array, logits: jax.Array, temperature: float) -> jax.Array:
    """`[batch]`: `T^2 KL(softmax(teacher / T) || softmax(logits / T))`, the teacher a constant.

    Example:
        >>> softened_kl(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 2.0]]), 4.0).tolist()
        [0.0]
    """
    softened = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature)
    own = jax.nn.log_softmax(logits / temperature)
    return temperature**2 * jnp.sum(jnp.exp(softened) * (softened - own), -1)


def distillation(alpha: float, temperature: float) -> Objective:
    """`(1 - alpha) CE(logits, y) + alpha T^2 KL(teacher_T || logits_T)`, `batch["teacher"]` logits.

    Hinton, Vinyals, Dean, 2015, arXiv 1503.02531, section 2.

    Raises:
        ValueError: when `alpha` is not in [0, 1] or the temperature not above 0.
    """
    if not 0 <= alpha <= 1 or temperature <= 0:
        raise ValueError(
            f"alpha has to lie in [0, 1] and temperature above 0: found {alpha}, {temperature}"
        )

    def objective(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        hard, _ = cross_entropy(logits, batch)
        soft = weighted_mean(softened_kl(batch[TEACHER], logits, temperature), batch)
        loss = (1 - alpha) * hard + alpha * soft
        return loss, {"loss": loss, "accuracy": accuracy(logits, batch)}

    return objective


def _per_example(values: jax.Array) -> jax.Array:
    return values.reshape(len(values), -1).mean(-1)
