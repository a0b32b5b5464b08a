"""Losses for class labels."""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core.contracts import Batch, Metrics, Objective, PyTree


def weighted_mean(values: jax.Array, batch: Batch) -> jax.Array:
    """`mean(weight * values)` over the examples, with `batch["weight"]` or 1.

    Weights average to 1 over the global batch, so the mean of this over devices is exact even when
    some devices hold only padding.
    """
    return jnp.mean(values * batch["weight"] if "weight" in batch else values)


def correct(logits: jax.Array, batch: Batch) -> jax.Array:
    """Whether the largest logit is that of the label, bool `[batch]`: what `evaluator` averages."""
    return jnp.argmax(logits, -1) == batch["labels"]


def accuracy(logits: jax.Array, batch: Batch) -> jax.Array:
    """The share of examples whose largest logit is that of the label."""
    return weighted_mean(correct(logits, batch), batch)


def cross_entropy(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Softmax cross-entropy with integer labels: `mean_i -log softmax(logits_i)[label_i]`.

    Args:
        logits: `[batch, classes]`.
        batch: with `"labels"`, int `[batch]`.

    Raises:
        ValueError: when there is not one label per row of logits.

    Example:
        >>> loss, metrics = cross_entropy(jnp.zeros((2, 4)), {"labels": jnp.array([0, 3])})
        >>> bool(jnp.isclose(loss, jnp.log(4)))
        True
    """
    found, expected = jnp.shape(batch["labels"]), jnp.shape(logits)[:-1]
    if found != expected:
        raise ValueError(
            f"labels must have the shape {expected} of the logits' rows, found {found}"
        )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
    loss = weighted_mean(losses, batch)
    return loss, {"loss": loss, "accuracy": accuracy(logits, batch)}


def cross_entropy_with_mse(alpha: float, target: str | float = 1.0) -> Objective:
    """`(1 - alpha) * CE(logits, label) + alpha * MSE(logits, phi)`, as spiking networks use it.

    Args:
        alpha: the share of the squared error.
        target: `phi`, a constant for every logit, or `"one-hot"` for the label's indicator.

    Meng et al., ICCV 2023 (SLTT) use `alpha = 0.05`, `phi = 1` on static images; the squared error
    is the mean over examples and classes.
    """

    if isinstance(target, str) and target != "one-hot":
        raise ValueError(f"target must be a number or 'one-hot', found {target!r}")

    def objective(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        loss, metrics = cross_entropy(logits, batch)
        if isinstance(target, str):
            phi = jax.nn.one_hot(batch["labels"], logits.shape[-1])
        else:
            phi = jnp.asarray(target)
        squared = weighted_mean(jnp.mean((logits - phi) ** 2, -1), batch)
        loss = (1 - alpha) * loss + alpha * squared
        return loss, metrics | {"loss": loss}

    return objective


def mixed_cross_entropy(logits: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    """Cross-entropy where examples may be made of two: `mean(a CE(y) + (1 - a) CE(y'))`.

    CutMix, Yun et al., ICCV 2019, section 3.1: y is `batch["labels"]`, y' the `"labels"` of
    `batch["partner"]` and a `batch["mix"]`, `[batch]` each. For a batch without partners it is
    `cross_entropy`.

    Example:
        >>> batch = {"labels": jnp.array([0]), "partner": {"labels": jnp.array([1])}}
        >>> loss, _ = mixed_cross_entropy(jnp.zeros((1, 4)), batch | {"mix": jnp.array([0.25])})
        >>> bool(jnp.isclose(loss, jnp.log(4)))
        True
    """
    loss, metrics = cross_entropy(logits, batch)
    if "mix" not in batch:
        return loss, metrics
    share, losses = batch["mix"], optax.softmax_cross_entropy_with_integer_labels
    own, other = (losses(logits, part["labels"]) for part in (batch, batch["partner"]))
    loss = weighted_mean(share * own + (1 - share) * other, batch)
    return loss, metrics | {"loss": loss}


def per_step(objective: Objective) -> Objective:
    """The mean over time of a loss at every step; outputs are `[time, batch, ...]`."""

    def over_steps(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        losses, metrics = jax.vmap(lambda now: objective(now, batch))(outputs)
        return jnp.mean(losses), jax.tree.map(lambda m: m.mean(0), metrics)

    return over_steps
