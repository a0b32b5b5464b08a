"""Losses that make a new embedding comparable with an old one.

Batches carry `"old"` and, for BT2, `"reference"`: frozen unit features of the same examples
(`data.feature_store`), and in the context `"prototypes"`, the class means of the old ones.
"""

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core.contracts import CONTEXT, Batch, Metrics, Objective, PyTree
from jaxlearn.objectives.classification import accuracy, weighted_mean

OLD, REFERENCE, PROTOTYPES = "old", "reference", "prototypes"


def embedding_loss(smoothing: float = 0.1) -> Objective:
    """Cross-entropy with smoothed labels of `outputs["logits"]`: a model of its own."""

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        loss = _entropy(outputs["logits"], batch, smoothing)
        return loss, {"loss": loss, "accuracy": accuracy(outputs["logits"], batch)}

    return objective


def bct_loss(old: int, *, weight: float = 10.0, smoothing: float = 0.1) -> Objective:
    """`CE(logits, y) + weight CE(P phi[:d_old], y)`, both with smoothed labels.

    Backward-compatible training: Shen, Xiong, Xia, Soatto, CVPR 2020, arXiv 2003.11942, with the
    old classifier replaced by the class means P of the old features. Only the first d_old
    dimensions are asked to be compatible. It is phi that has unit length: dimensions beyond them
    take a part of it, as they do when an old gallery is searched.

    Args:
        old: d_old.
        weight: alpha, of the second part.
        smoothing: of the labels.
    """

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        own = _entropy(outputs["logits"], batch, smoothing)
        old_logits = _of_prototypes(outputs["embedding"][..., :old], batch)
        loss = own + weight * _entropy(old_logits, batch, smoothing)
        return loss, {"loss": loss, "accuracy": accuracy(outputs["logits"], batch)}

    return objective


def bt2_loss(*, reference: float = 1.0, classes: float = 10.0, matching: float = 5.0) -> Objective:
    """The loss of BT2 over the outputs of `models.bt2.BT2Head`, with n = normalize::

        CE(W_c u, y) + classes CE(P n(q), y)
            + matching (1 - mean <phi_old, n(q)>) + reference (1 - mean <phi_new', u>)

    Zhou et al., ICCV 2023, section 3.3. Old and reference features and P are constants.

    Args:
        reference: lambda_1, of the match with the reference model.
        classes: lambda_2, of the classification by old prototypes; 0 leaves regression alone.
        matching: lambda_3, of the match with the old model.
    """

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        q, u = _unit(outputs["compatible"]), outputs["reference"]
        gap = lambda ours, theirs: 1 - weighted_mean(jnp.sum(ours * theirs, -1), batch)
        constant = jax.lax.stop_gradient
        old_gap = gap(q, constant(batch[OLD]))
        reference_gap = gap(u, constant(batch[REFERENCE]))
        loss = _entropy(outputs["logits"], batch, 0.0)
        loss += classes * _entropy(_of_prototypes(q, batch), batch, 0.0)
        loss += matching * old_gap + reference * reference_gap
        right = accuracy(outputs["logits"], batch)
        return loss, {
            "loss": loss,
            "accuracy": right,
            "old_gap": old_gap,
            "reference_gap": reference_gap,
        }

    return objective


def _of_prototypes(x: jax.Array, batch: Batch) -> jax.Array:
    return x @ jax.lax.stop_gradient(batch[CONTEXT][PROTOTYPES]).T


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.maximum(jnp.sum(x * x, -1, keepdims=True), 1e-12))


def _entropy(logits: jax.Array, batch: Batch, smoothing: float) -> jax.Array:
    hard = jax.nn.one_hot(batch["labels"], logits.shape[-1])
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(hard, smoothing))
    return weighted_mean(losses, batch)
