"""Negative data for contrastive rules: labels written into the inputs, and made-up inputs.

Hinton, "The forward-forward algorithm: some preliminary investigations", 2022 (arXiv 2212.13345),
sections 3.2 and 3.3; Momeni et al., Science 382, 2023 (arXiv 2304.11042) for physical systems.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import Batch, Key, keys


class LabelEmbedding(NamedTuple):
    """How a label enters the input.

    Attributes:
        classes: K, the number of labels.
        write: `(x [B, ...], labels [B]) -> [B, ...]`, the inputs with the labels in them.
    """

    classes: int
    write: Callable[[jax.Array, jax.Array], jax.Array]


def overwrite_label(classes: int, amplitude: float | jax.Array = 1.0) -> LabelEmbedding:
    """Set the first K entries of every input to zero and entry `label` to `amplitude`.

    The amplitude is one constant, such as the largest `|x|` of the training inputs, not the
    largest of a batch: predictions must not depend on which examples are predicted together.

    Example:
        >>> overwrite_label(3, 2.0).write(jnp.ones((1, 5)), jnp.array([1])).tolist()
        [[0.0, 2.0, 0.0, 1.0, 1.0]]
    """
    _check(classes)

    def write(x: jax.Array, labels: jax.Array) -> jax.Array:
        flat = x.reshape(len(x), -1)
        if flat.shape[1] < classes:
            raise ValueError(f"{flat.shape[1]} entries cannot take in {classes} labels")
        written = amplitude * jax.nn.one_hot(labels, classes, dtype=flat.dtype)
        return jnp.concatenate([written, flat[:, classes:]], 1).reshape(x.shape)

    return LabelEmbedding(classes, write)


def label_rows(classes: int, amplitude: float | jax.Array = 1.0) -> LabelEmbedding:
    """Add K rows above and below every image; row `label` of each K is `amplitude`.

    Images `[B, H, W]` or `[B, H, W, 1]` become `[B, H + 2 K, W]`.

    Example:
        >>> image = label_rows(2).write(jnp.full((1, 1, 2), 7.0), jnp.array([1]))
        >>> image[0, :, 0].tolist()
        [0.0, 1.0, 7.0, 0.0, 1.0]
    """
    _check(classes)

    def write(x: jax.Array, labels: jax.Array) -> jax.Array:
        if x.ndim not in (3, 4) or x.shape[3:] not in ((), (1,)):
            raise ValueError(f"images [B, H, W] or [B, H, W, 1] are needed, found {x.shape}")
        images = x.reshape(x.shape[:3])
        rows = amplitude * jax.nn.one_hot(labels, classes, dtype=x.dtype)
        rows = jnp.broadcast_to(rows[..., None], (len(x), classes, x.shape[2]))
        return jnp.concatenate([rows, images, rows], 1)

    return LabelEmbedding(classes, write)


def wrong_labels(key: Key, batch: Batch, classes: int) -> jax.Array:
    """A label for every example that is not its own, uniform over the other K - 1, `[B]`.

    Each example draws with a key of its own, so the draws do not depend on how a batch is split.
    """
    draw = jax.vmap(lambda key: jax.random.randint(key, (), 1, classes))
    return (batch["labels"] + draw(keys.each_example(key, batch))) % classes


def every_label(embedding: LabelEmbedding, x: jax.Array) -> jax.Array:
    """Every input with every label, `[B, ...] -> [B * K, ...]`; the K of one input in a row."""
    labels = jnp.tile(jnp.arange(embedding.classes), len(x))
    return embedding.write(jnp.repeat(x, embedding.classes, 0), labels)


def blurred_mask(key: Key, shape: tuple[int, int], blurs: int = 6) -> jax.Array:
    """A 0/1 mask `[H, W]` with large connected regions of both values.

    Random bits, blurred `blurs` times with [1/4, 1/2, 1/4] along both axes, and cut at 1/2
    (Hinton 2022, section 3.2). Beyond its edge the image repeats the last pixel.
    """
    mask = jax.random.bernoulli(key, shape=shape).astype(jnp.float32)

    def blur(mask: jax.Array, _) -> tuple[jax.Array, None]:
        for axis in (0, 1):
            wide = jnp.pad(mask, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
            size = mask.shape[axis]
            pick = lambda start, wide=wide, axis=axis, size=size: jax.lax.slice_in_dim(
                wide, start, start + size, axis=axis
            )
            mask = pick(0) / 4 + pick(1) / 2 + pick(2) / 4
        return mask, None

    mask, _ = jax.lax.scan(blur, mask, length=blurs)
    return (mask > 0.5).astype(jnp.float32)


def hybrids(batch: Batch, key: Key) -> jax.Array:
    """Images put together of two: `m x_i + (1 - m) x_j` with a blurred mask m per example.

    Locally they look like data, at long range they do not (Hinton 2022, section 3.2). The other
    image j is the one before in the batch; a batch of one mixes an image with itself.
    """
    x = batch["inputs"]
    masks = jax.vmap(lambda key: blurred_mask(key, x.shape[1:3]))(keys.each_example(key, batch))
    masks = masks.reshape(*masks.shape, *[1] * (x.ndim - 3)).astype(x.dtype)
    return masks * x + (1 - masks) * jnp.roll(x, 1, 0)


def scrambled(batch: Batch, key: Key) -> jax.Array:
    """Inputs whose entries keep their values but half of them, by a random mask, change places.

    For inputs that are no images: each entry stays typical and only their joint law breaks. Every
    example is made from itself alone, so the result does not depend on the rest of the batch.
    """

    def scramble(key: Key, x: jax.Array) -> jax.Array:
        order_key, mask_key = jax.random.split(key)
        flat = x.reshape(-1)
        keep = jax.random.bernoulli(mask_key, shape=flat.shape)
        moved = jax.random.permutation(order_key, flat)
        return jnp.where(keep, flat, moved).reshape(x.shape)

    return jax.vmap(scramble)(keys.each_example(key, batch), batch["inputs"])


def _check(classes: int) -> None:
    if classes < 2:
        raise ValueError(f"classes={classes}; a wrong label needs at least two")
