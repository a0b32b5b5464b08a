"""InfoPro's decoder and classifier for ImageNet's maps of 14 x 14, as MAN uses them there."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.heads.branches import branches
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.layers.resize import resize_aligned

DECODER = ((192, 1, 28), (64, 1, 56), (32, 3, 112), (12, 3, 224))
"""Channels and size of each convolution of the decoder, and the side that follows it."""
CLASSIFIER = ((256, 1, 1), (256, 3, 2), (512, 3, 2), (2048, 1, 1))
"""Channels, size and stride of each convolution of the classifier."""


class StagedDecoder(linen.Module):
    """Per stage convolution, BN, ReLU, resize; at last conv3x3 -> 3: pixels' logits.

    Attributes:
        stages: see `DECODER`.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    stages: tuple[tuple[int, int, int], ...] = DECODER
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, side, side, 3]`, the side being the last stage's."""
        for width, size, side in self.stages:
            x = linen.relu(BatchNorm(self.sync)(Conv(width, size)(x), train))
            x = resize_aligned(x, side)
        return Conv(3, 3)(x)


class StagedClassifier(linen.Module):
    """Per stage convolution, BN, ReLU; then average pooling and a linear layer.

    Attributes:
        classes: number of logits.
        stages: see `CLASSIFIER`.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    classes: int = 1000
    stages: tuple[tuple[int, int, int], ...] = CLASSIFIER
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        for width, size, stride in self.stages:
            x = linen.relu(BatchNorm(self.sync)(conv(width, size, stride)(x), train))
        return linear(x.shape[-1], self.classes)(x.mean((1, 2)))


def imagenet_infopro_head(
    classes: int = 1000,
    *,
    decoder: tuple[tuple[int, int, int], ...] = DECODER,
    classifier: tuple[tuple[int, int, int], ...] = CLASSIFIER,
    sync: bool = False,
) -> Model:
    """`h -> {"image": decoder(h), "features": classifier(h)}`, for `infopro_loss`.

    MAN's runs weight them 5 and 0.75 everywhere.
    """
    return branches(
        {
            "image": from_linen(StagedDecoder(decoder, sync)),
            "features": from_linen(StagedClassifier(classes, classifier, sync)),
        }
    )
