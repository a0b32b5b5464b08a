"""VGG for ImageNet with batch normalisation (Simonyan & Zisserman, ICLR 2015) as a list of layers.

One layer is a convolution with its normalisation; the 2 x 2 max pooling between stages is at the
beginning of the stage that follows.
"""

from collections.abc import Sequence

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.adaptive_pool import adaptive_average_pool
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import KAIMING, Conv

VGG13 = (2, 2, 2, 2, 2)
"""Convolutions per stage of VGG-13, 10 layers."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages."""


class ConvLayer(linen.Module):
    """`relu(BN(conv3x3(x)))`, the input perhaps max-pooled 2 x 2 before.

    Attributes:
        width: output channels.
        pool: halve height and width first.
        sync: statistics over all devices, see `BatchNorm`.
        kernel_init: draws the weights.
    """

    width: int
    pool: bool = False
    sync: bool = False
    kernel_init: jax.nn.initializers.Initializer = KAIMING

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, width]`, or to half the side."""
        x = linen.max_pool(x, (2, 2), (2, 2)) if self.pool else x
        x = Conv(self.width, kernel_init=self.kernel_init)(x)
        return linen.relu(BatchNorm(self.sync)(x, train))


class VggClassifier(linen.Module):
    """Max pool, average to `side` x `side`, then three linear layers with dropout between them.

    Attributes:
        classes: number of logits.
        hidden: units of the two hidden layers.
        side: of the averaged map.
        dropout: the share of hidden units that training leaves out.
    """

    classes: int = 1000
    hidden: int = 4096
    side: int = 7
    dropout: float = 0.5

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        x = adaptive_average_pool(linen.max_pool(x, (2, 2), (2, 2)), self.side)
        x = x.reshape(x.shape[0], -1)
        init = linen.initializers.normal(0.01)
        for _ in range(2):
            x = linen.relu(linen.Dense(self.hidden, kernel_init=init)(x))
            x = linen.Dropout(self.dropout)(x, deterministic=not train)
        return linen.Dense(self.classes, kernel_init=init)(x)


def imagenet_vgg(
    convolutions: Sequence[int] = VGG13, widths: Sequence[int] = WIDTHS, *, sync: bool = False
) -> list[Model]:
    """The layers of a VGG without the classifier (`vgg_classifier`).

    Raises:
        ValueError: when `convolutions` and `widths` have different lengths.

    Example:
        >>> len(imagenet_vgg())
        10
    """
    if len(convolutions) != len(widths):
        raise ValueError(
            f"every stage needs a width: found {len(convolutions)} stages and {len(widths)} widths"
        )
    layers = []
    for stage, (count, width) in enumerate(zip(convolutions, widths, strict=True)):
        first = from_linen(ConvLayer(width, stage > 0, sync))
        layers += [first, *[from_linen(ConvLayer(width, False, sync))] * (count - 1)]
    return layers


def vgg_widths(convolutions: Sequence[int] = VGG13, widths: Sequence[int] = WIDTHS) -> list[int]:
    """Channels of every layer, for AugLocal's heads.

    Example:
        >>> vgg_widths()
        [64, 64, 128, 128, 256, 256, 512, 512, 512, 512]
    """
    return [width for count, width in zip(convolutions, widths, strict=True) for _ in range(count)]


def vgg_classifier(
    classes: int = 1000, *, hidden: int = 4096, side: int = 7, dropout: float = 0.5
) -> Model:
    """The end of the network as a model, see `VggClassifier`."""
    return from_linen(VggClassifier(classes, hidden, side, dropout))
