"""The supervised contrastive loss (Khosla et al., NeurIPS 2020, equation 2)."""

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Batch, Metrics, Objective
from jaxlearn.objectives.pairs import grouped, weights


def supervised_contrastive(temperature: float = 0.07, *, group: int | None = None) -> Objective:
    """Bring embeddings of one class together and push the others away.

    With `z = features / |features|` and `P(i)` the other examples of i's class,
    `l_i = -mean over p in P(i) of log(exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t))`,
    0 where `P(i)` is empty; the loss is the mean over i. Examples of weight 0 are nobody's partner.

    Args:
        temperature: t.
        group: compare within consecutive groups of so many examples only, see
            `similarity_matching`.

    Example:
        >>> features = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> loss, _ = supervised_contrastive(1.0)(features, {"labels": jnp.array([0, 0, 1])})
        >>> round(float(loss), 4)  # 2/3 log((e + 1) / e)
        0.2088
    """

    def of_group(features: jax.Array, labels: jax.Array, w: jax.Array) -> jax.Array:
        length = jnp.sqrt(jnp.maximum(jnp.sum(features**2, -1, keepdims=True), 1e-24))
        z = features / length
        other = ~jnp.eye(len(labels), dtype=bool) & (w > 0)
        positive = other & (labels[:, None] == labels)
        logits = jnp.where(other, z @ z.T / temperature, -jnp.inf)
        top = jax.lax.stop_gradient(jnp.max(logits, 1, keepdims=True, initial=-1e30))
        log_sum = top + jnp.log(jnp.sum(jnp.exp(logits - top), 1, keepdims=True) + 1e-30)
        gains = jnp.where(positive, logits - log_sum, 0.0).sum(1)
        return -w * gains / jnp.maximum(positive.sum(1), 1)

    def objective(features: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        labels = grouped(batch["labels"], group)
        losses = jax.vmap(of_group)(grouped(features, group), labels, weights(batch, group))
        loss = losses.mean()
        return loss, {"loss": loss}

    return objective
