"""Heads made of copies of layers of the primary network (AugLocal; Ma et al., ICLR 2024)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import BasicBlock, Classifier
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.linear import linear


class Copy(NamedTuple):
    """One block of a head.

    Attributes:
        layer: number of the layer of the primary network that it copies.
        inputs: input channels.
        width: output channels, those of the layer.
        stride: 1 or 2.
    """

    layer: int
    inputs: int
    width: int
    stride: int


def head_plan(widths: Sequence[int], layer: int, selected: Sequence[int]) -> list[Copy]:
    """The blocks of the head of `layer` that copies the layers `selected`.

    Each doubling of the width on the way owes one halving of the map; a block pays back one at
    most, so a step from 16 to 64 channels halves once and leaves one halving to the next block.

    Args:
        widths: output channels of every layer of the primary network.
        layer: the layer whose output enters the head.
        selected: numbers of the copied layers, ascending.

    Example:
        >>> widths = [16] * 6 + [32] * 5 + [64] * 5
        >>> [tuple(block) for block in head_plan(widths, 0, [8, 15])]
        [(8, 16, 32, 2), (15, 32, 64, 2)]
    """
    width, owed, plan = widths[layer], 0, []
    for j in selected:
        owed += (widths[j] // width).bit_length() - 1
        stride = 2 if owed >= 1 else 1
        owed -= stride - 1
        plan.append(Copy(j, width, widths[j], stride))
        width = widths[j]
    return plan


class CopiedBlocks(linen.Module):
    """Fresh basic blocks, global average pooling, perhaps BN, and a linear layer.

    Attributes:
        blocks: width and stride of each block.
        classes: number of logits.
        normalize: normalise the pooled features.
        sync: batch statistics over all devices, see `BatchNorm`.
        block: `block(width, stride, sync)` makes one block.
    """

    blocks: tuple[tuple[int, int], ...]
    classes: int
    normalize: bool = False
    sync: bool = False
    block: Callable[..., linen.Module] = BasicBlock

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        for width, stride in self.blocks:
            x = self.block(width, stride, self.sync)(x, train)
        if not self.normalize:
            return Classifier(self.classes)(x)
        x = BatchNorm(self.sync)(x.mean((1, 2)), train)
        return linear(x.shape[-1], self.classes)(x)


def copied_blocks_head(
    widths: Sequence[int],
    layer: int,
    selected: Sequence[int],
    classes: int,
    *,
    block: Callable[..., linen.Module] = BasicBlock,
    normalize: bool | None = None,
    sync: bool = False,
) -> Model:
    """The head of `layer` in a ResNet of these layer widths.

    Heads that are alike are one and the same `Model` (see `loop` of `local_learning`).

    Args:
        widths: of every layer of the network; for bottleneck blocks, of their middle.
        layer: the layer whose output enters the head.
        selected: numbers of the copied layers, ascending.
        classes: number of logits.
        block: the kind of block, such as `models.imagenet_resnet.Bottleneck`.
        normalize: normalise the pooled features, by default those of a single block, as in the
            authors' code for CIFAR (for ImageNet it never does).
        sync: batch statistics over all devices.
    """
    plan = head_plan(widths, layer, selected)
    shapes = tuple((copy.width, copy.stride) for copy in plan)
    return _head(shapes, classes, len(shapes) <= 1 if normalize is None else normalize, sync, block)


@lru_cache
def _head(blocks: tuple[tuple[int, int], ...], classes: int, normalize: bool, sync: bool, block):
    return from_linen(CopiedBlocks(blocks, classes, normalize, sync, block))
