"""The residual networks for ImageNet (He et al., CVPR 2016, table 1) as lists of layers.

With groups they are ResNeXt (Xie et al., CVPR 2017, table 1). One layer is the stem or one
residual block. Block weights are `N(0, 2 / (size^2 channels out))`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import BasicBlock, conv
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.bottleneck import Bottleneck

RESNET34 = (3, 4, 6, 3)
"""Basic blocks per stage of ResNet-34, 17 layers with the stem."""
RESNET101 = (3, 4, 23, 3)
"""Bottleneck blocks per stage of ResNet-101, 34 layers with the stem."""
RESNET152 = (3, 8, 36, 3)
"""Bottleneck blocks per stage of ResNet-152, 51 layers with the stem."""
WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages; for bottleneck blocks inside, four times as many come out."""


class ImageNetStem(linen.Module):
    """`max pool 3x3/2(relu(BN(conv7x7/2(x))))`: a quarter of the side.

    Attributes:
        width: output channels.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / 4, W / 4, width]`."""
        x = linen.relu(BatchNorm(self.sync)(conv(self.width, 7, 2)(x), train))
        return linen.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def imagenet_resnet(
    blocks: Sequence[int] = RESNET34,
    widths: Sequence[int] = WIDTHS,
    *,
    bottleneck: bool = False,
    groups: int = 1,
    base: int = 64,
    sync: bool = False,
) -> list[Model]:
    """The layers of a ResNet for ImageNet without the classifier (`cifar_resnet.classifier`).

    `cifar_resnet.layer_widths(blocks, widths)` are the widths for AugLocal's heads. Blocks that
    are alike are one and the same `Model` (see `loop` of `local_learning`).

    Args:
        blocks: residual blocks of each stage.
        widths: channels of each stage; every stage but the first halves height and width.
        bottleneck: blocks of three convolutions instead of two.
        groups, base: of bottleneck blocks, see `Bottleneck`; 32 and 8 make ResNeXt-101 32x8d out of
            the blocks of ResNet-101.
        sync: batch statistics over all devices instead of each device's own examples.

    Raises:
        ValueError: when `blocks` and `widths` have different lengths, or basic blocks have groups.

    Example:
        >>> len(imagenet_resnet()), len(imagenet_resnet(RESNET101, bottleneck=True))
        (17, 34)
    """
    if len(blocks) != len(widths):
        raise ValueError(
            f"every stage needs a width: found {len(blocks)} stages and {len(widths)} widths"
        )
    if not bottleneck and (groups, base) != (1, 64):
        raise ValueError(f"groups={groups}, base={base} need bottleneck=True")
    wide: Callable[..., linen.Module] = partial(Bottleneck, groups=groups, base=base)
    kind = wide if bottleneck else BasicBlock
    layers = [from_linen(ImageNetStem(widths[0], sync))]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        first = from_linen(kind(width, 2 if stage > 0 else 1, sync))
        layers += [first, *[from_linen(kind(width, 1, sync))] * (count - 1)]
    return layers
