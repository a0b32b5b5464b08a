"""Similarity matching, the loss of PredSim (Nøkland & Eidnes, ICML 2019)."""

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Batch, Metrics, Objective, PyTree
from jaxlearn.objectives.classification import cross_entropy
from jaxlearn.objectives.pairs import grouped, weights


def similarity_matrix(x: jax.Array) -> jax.Array:
    """Cosine similarities of centred feature vectors, `[B, B]` within -1 … 1.

    A map `[B, H, W, C]` of more than 3 channels is first reduced to each channel's standard
    deviation over the positions (with n - 1); anything else is flattened. Every vector is centred
    by its own mean.

    Example:
        >>> similarity_matrix(jnp.array([[1.0, 0.0], [0.0, 1.0]])).round(4).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
    """
    if x.ndim == 4 and x.shape[-1] > 3 and x.shape[1] > 1:
        x = _root(jnp.var(x, (1, 2), ddof=1))
    x = x.reshape(x.shape[0], -1)
    centred = x - x.mean(1, keepdims=True)
    unit = centred / (1e-8 + _root(jnp.sum(centred**2, 1, keepdims=True)))
    return jnp.clip(unit @ unit.T, -1, 1)


def similarity_matching(
    features: jax.Array, labels: jax.Array, classes: int, batch: Batch, group: int | None = None
) -> jax.Array:
    """`mean over pairs of (S(features) - S(one-hot labels))^2`, S being the similarity matrix.

    Args:
        features: `[B, ...]`.
        labels: int `[B]`.
        classes: length of the one-hot vectors.
        batch: its weights, if it has any, multiply: pair (i, j) counts `w_i w_j`.
        group: compare only within consecutive groups of so many examples; then the loss does not
            depend on how a batch is split over devices and microbatches of whole groups. By
            default all examples of the (device's) batch are compared.

    Raises:
        ValueError: when the group does not divide the batch.
    """
    similar = jax.vmap(similarity_matrix)
    found = similar(grouped(features, group))
    wanted = similar(grouped(jax.nn.one_hot(labels, classes), group))
    w = weights(batch, group)
    return jnp.mean(w[:, :, None] * w[:, None, :] * (found - wanted) ** 2)


def predsim_loss(share: float = 0.99, *, group: int | None = None) -> Objective:
    """`share * similarity matching + (1 - share) * cross-entropy`, of two heads' outputs.

    The objective takes `{"similarity": [B, ...], "logits": [B, classes]}`.

    Args:
        share: of similarity matching.
        group: see `similarity_matching`.
    """

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        logits, labels = outputs["logits"], batch["labels"]
        entropy, metrics = cross_entropy(logits, batch)
        similarity = outputs["similarity"]
        matching = similarity_matching(similarity, labels, logits.shape[-1], batch, group)
        loss = share * matching + (1 - share) * entropy
        return loss, metrics | {"loss": loss, "similarity": matching}

    return objective


def _root(x: jax.Array) -> jax.Array:
    """The square root, with derivative 0 at 0 (a constant channel teaches nothing)."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
