"""Decoder and classifier of InfoPro (Wang et al., ICLR 2021, "Revisiting Locally Supervised
Learning: an Alternative to End-to-end Training").
"""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.heads.branches import branches
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.layers.resize import resize_aligned


class Decoder(linen.Module):
    """Resize to the image's side, conv3x3 -> 12, BN, ReLU, conv3x3 -> channels: pixels' logits.

    The sigmoid is left to the loss (`objectives.reconstruction`).

    Attributes:
        side: of the image.
        channels: of the image.
        width: channels inside.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    side: int
    channels: int = 3
    width: int = 12
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, side, side, channels]`."""
        x = _biased(self.width)(resize_aligned(x, self.side))
        return _biased(self.channels)(linen.relu(BatchNorm(self.sync)(x, train)))


class ConvClassifier(linen.Module):
    """`convolutions` x (conv3x3, BN, ReLU), pool, linear -> hidden, ReLU, linear -> outputs.

    The first convolution doubles the channels at stride 2, up to `widest`, from where it keeps
    both.

    Attributes:
        outputs: logits, or for the contrastive loss the dimension of the embedding.
        convolutions: 2 in InfoPro and MAN, 1 in AugLocal's comparison.
        hidden: units of the hidden layer.
        widest: most channels; of the network's last stage.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    outputs: int
    convolutions: int = 2
    hidden: int = 128
    widest: int = 64
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, outputs]`."""
        width = min(2 * x.shape[-1], self.widest)
        stride = 2 if width > x.shape[-1] else 1
        for i in range(self.convolutions):
            x = conv(width, 3, stride if i == 0 else 1)(x)
            x = linen.relu(BatchNorm(self.sync)(x, train))
        x = linen.relu(linear(width, self.hidden)(x.mean((1, 2))))
        return linear(self.hidden, self.outputs)(x)


def infopro_head(
    side: int,
    outputs: int,
    *,
    convolutions: int = 2,
    hidden: int = 128,
    widest: int = 64,
    sync: bool = False,
) -> Model:
    """`h -> {"image": decoder(h), "features": classifier(h)}`, for `infopro_loss`.

    Args:
        side: of the image to decode.
        outputs: the number of classes, or the dimension of the embedding (128 in the paper) for
            the contrastive loss.
        convolutions, hidden, widest: see `ConvClassifier`.
        sync: batch statistics over all devices.
    """
    classifier = ConvClassifier(outputs, convolutions, hidden, widest, sync)
    return branches(
        {"image": from_linen(Decoder(side, sync=sync)), "features": from_linen(classifier)}
    )


def _biased(width: int) -> Conv:
    return Conv(width, 3)
