"""Residual networks of bottleneck blocks for CIFAR as lists of layers: ResNet-101, ResNeXt-29.

He et al., CVPR 2016, section 4.1, and Xie et al., CVPR 2017, section 5.3, on a 3 x 3 stem.
"""

from collections.abc import Sequence

import jax

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import Stem
from jaxlearn.models.layers.bottleneck import Bottleneck

RESNET101 = (3, 4, 23, 3)
"""Blocks per stage of ResNet-101, 34 layers with the stem."""
RESNEXT29 = (3, 3, 3)
"""Blocks per stage of ResNeXt-29, 10 layers with the stem."""


def cifar_bottleneck(
    blocks: Sequence[int] = RESNET101,
    width: int = 64,
    *,
    groups: int = 1,
    base: int = 64,
    sync: bool = False,
) -> list[Model]:
    """The layers without the classifier: the stem, then every block of three convolutions.

    Args:
        blocks: blocks of each stage; every stage but the first halves height and width.
        width: channels of the stem, and inside the blocks of the first stage; doubled at every
            stage. Four times as many come out of a block.
        groups, base: see `Bottleneck`; 8 and 64 with `RESNEXT29` make ResNeXt-29 8x64d.
        sync: batch statistics over all devices.

    Example:
        >>> len(cifar_bottleneck()), len(cifar_bottleneck(RESNEXT29, groups=8))
        (34, 10)
    """
    layers = [from_linen(Stem(width, sync))]
    for stage, count in enumerate(blocks):
        of = lambda stride, wide=width * 2**stage: from_linen(
            Bottleneck(wide, stride, sync, groups=groups, base=base)
        )
        layers += [of(2 if stage > 0 else 1), *[of(1)] * (count - 1)]
    return layers


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Two blocks in groups, for the battery of models."""
    from jaxlearn.core import stack
    from jaxlearn.models.cifar_resnet import classifier

    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    small = cifar_bottleneck((1, 1), 4, groups=2, base=32)
    return {"cifar-resnext": (stack([*small, classifier(3)]), x)}
