"""Reconstruction of an image from a representation."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from jaxlearn.core.contracts import Batch, Metrics, Objective, PyTree
from jaxlearn.objectives.classification import cross_entropy, weighted_mean

Image = Callable[[Batch], jax.Array]
"""`batch -> [B, ...]`, what to reconstruct, with values in 0 … 1."""
Weight = float | jax.Array
"""Of a term of a loss, a scalar."""


def reconstruction(logits: jax.Array, image: jax.Array, batch: Batch) -> jax.Array:
    """Binary cross-entropy of `sigmoid(logits)` with pixels clipped to 0 … 1, the mean over all.

    Restored pixels leave the interval by rounding, hence the clipping.
    """
    losses = optax.sigmoid_binary_cross_entropy(logits, jnp.clip(image, 0, 1))
    return weighted_mean(losses.reshape(losses.shape[0], -1).mean(1), batch)


def restored(mean: Sequence[float], std: Sequence[float]) -> Image:
    """Undo a normalisation: `inputs * std + mean`, channels last, clipped to 0 … 1."""

    def image(batch: Batch) -> jax.Array:
        return jnp.clip(batch["inputs"] * jnp.array(std) + jnp.array(mean), 0, 1)

    return image


def infopro_loss(
    reconstruct: Weight, classify: Weight, image: Image, *, task: Objective = cross_entropy
) -> Objective:
    """`reconstruct * BCE(decoder, image) + classify * task(features)`.

    The objective takes `{"image": pixels' logits, "features": what the task takes}`. Wang et al.,
    ICLR 2021: the first term keeps what the representation knows of the input, the second what it
    knows of the label.

    Args:
        reconstruct: lambda 1.
        classify: lambda 2.
        image: what to reconstruct, from the batch; see `restored`.
        task: `cross_entropy` of logits (InfoPro-softmax), or `supervised_contrastive()` of an
            embedding (InfoPro-contrast).
    """

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        pixels = reconstruction(outputs["image"], image(batch), batch)
        label, metrics = task(outputs["features"], batch)
        loss = reconstruct * pixels + classify * label
        return loss, metrics | {"loss": loss, "reconstruction": pixels, "task": label}

    return objective
