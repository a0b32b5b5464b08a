"""The residual networks for CIFAR (He et al., CVPR 2016, Section 4.2) as lists of layers.

One layer is the stem or one basic block. ResNet-(6n + 2) has 3n + 1 layers in three stages of n
blocks. Shortcuts that change shape are 1x1 convolutions with batch normalisation.
"""

from collections.abc import Sequence

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import KAIMING, Conv
from jaxlearn.models.layers.linear import linear

RESNET32 = (5, 5, 5)
"""Blocks per stage of ResNet-32, 16 layers."""
RESNET110 = (18, 18, 18)
"""Blocks per stage of ResNet-110, 55 layers."""
WIDTHS = (16, 32, 64)
"""Channels of the three stages."""


def conv(
    width: int,
    size: int,
    stride: int = 1,
    init: linen.initializers.Initializer = KAIMING,
    groups: int = 1,
) -> Conv | linen.Conv:
    """A `size` x `size` convolution without bias, padded by `size // 2` on every side.

    Weights are by default `N(0, 2 / (size^2 width))`, `width` being the output channels. Channels
    in and out are divided into `groups`, and each output sees its own group of inputs.
    """
    if groups == 1:
        return Conv(width, size, stride, bias=False, kernel_init=init)
    pad = ((size // 2, size // 2),) * 2
    return linen.Conv(
        width,
        (size, size),
        (stride, stride),
        pad,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=init,
    )


class Stem(linen.Module):
    """`relu(BN(conv3x3(x)))`.

    Attributes:
        width: output channels.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, width]`."""
        return linen.relu(BatchNorm(self.sync)(conv(self.width, 3)(x), train))


class BasicBlock(linen.Module):
    """`relu(BN(conv3x3(relu(BN(conv3x3(x))))) + shortcut(x))`, the stride in the first convolution.

    The shortcut is the identity, or `BN(conv1x1(x))` where the shape changes.

    Attributes:
        width: output channels.
        stride: 2 halves height and width.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    stride: int = 1
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, width]`."""
        y = conv(self.width, 3, self.stride)(x)
        y = linen.relu(BatchNorm(self.sync)(y, train))
        y = BatchNorm(self.sync)(conv(self.width, 3)(y), train)
        if self.stride != 1 or x.shape[-1] != self.width:
            x = BatchNorm(self.sync)(conv(self.width, 1, self.stride)(x), train)
        return linen.relu(x + y)


class Classifier(linen.Module):
    """`linear(global average pool(x))`.

    Attributes:
        classes: number of logits.
    """

    classes: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        return linear(x.shape[-1], self.classes)(x.mean((1, 2)))


def cifar_resnet(
    blocks: Sequence[int] = RESNET32, widths: Sequence[int] = WIDTHS, *, sync: bool = False
) -> list[Model]:
    """The layers of a CIFAR ResNet without the classifier: the stem, then every basic block.

    Blocks that are alike are one and the same `Model` (see `loop` of `local_learning`).

    Args:
        blocks: basic blocks of each stage.
        widths: channels of each stage; every stage but the first halves height and width.
        sync: batch statistics over all devices instead of each device's own examples.

    Raises:
        ValueError: when `blocks` and `widths` have different lengths.

    Example:
        >>> from jaxlearn.core import stack
        >>> resnet32 = stack([*cifar_resnet(RESNET32), classifier(10)])
        >>> len(cifar_resnet(RESNET110))
        55
    """
    _check(blocks, widths)
    layers = [from_linen(Stem(widths[0], sync))]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        first = from_linen(BasicBlock(width, 2 if stage > 0 else 1, sync))
        others = from_linen(BasicBlock(width, 1, sync)) if stage > 0 else first
        layers += [first, *[others] * (count - 1)]
    return layers


def layer_widths(blocks: Sequence[int], widths: Sequence[int] = WIDTHS) -> list[int]:
    """Output channels of each layer of `cifar_resnet(blocks, widths)`.

    Example:
        >>> layer_widths((1, 1, 2))
        [16, 16, 32, 64, 64]
    """
    _check(blocks, widths)
    by_stage = [[width] * count for count, width in zip(blocks, widths, strict=True)]
    return [widths[0], *(width for stage in by_stage for width in stage)]


def classifier(classes: int) -> Model:
    """Global average pooling and a linear layer: the end of the network, and the greedy head."""
    return from_linen(Classifier(classes))


def _check(blocks: Sequence[int], widths: Sequence[int]) -> None:
    if len(blocks) != len(widths):
        raise ValueError(
            f"every stage needs a width: found {len(blocks)} stages and {len(widths)} widths"
        )
