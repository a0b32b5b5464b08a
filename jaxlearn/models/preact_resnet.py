"""Residual networks for CIFAR with norms before convolutions: PreAct ResNet-18 as lists of layers.

He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, in the form that work
on self-distillation shares (PS-KD, CS-KD): the stem is normalised, every shortcut starts behind the
block's first norm, and the last block's sum goes straight to the classifier.
"""

from collections.abc import Sequence

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import Stem, conv
from jaxlearn.models.layers.batch_norm import BatchNorm

RESNET18 = (2, 2, 2, 2)
"""Blocks per stage of PreAct ResNet-18, 9 layers with the stem."""
WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages."""


class PreActBlock(linen.Module):
    """`h = relu(BN(x))`, `y = shortcut(h) + conv3x3(relu(BN(conv3x3(h))))`.

    The stride is in the first convolution; the shortcut is the identity of h, or `conv1x1(h)` where
    the shape changes.

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
        h = linen.relu(BatchNorm(self.sync)(x, train))
        y = conv(self.width, 3, self.stride)(h)
        y = conv(self.width, 3)(linen.relu(BatchNorm(self.sync)(y, train)))
        if self.stride != 1 or x.shape[-1] != self.width:
            h = conv(self.width, 1, self.stride)(h)
        return y + h


def preact_resnet(
    blocks: Sequence[int] = RESNET18, widths: Sequence[int] = WIDTHS, *, sync: bool = False
) -> list[Model]:
    """The layers without the classifier (`cifar_resnet.classifier`): the stem, then every block.

    Args:
        blocks: blocks of each stage.
        widths: channels of each stage; every stage but the first halves height and width.
        sync: batch statistics over all devices.

    Raises:
        ValueError: when `blocks` and `widths` have different lengths.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.cifar_resnet import classifier
        >>> resnet18 = stack([*preact_resnet(), classifier(100)])
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        >>> params, _ = jax.eval_shape(resnet18.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        11217444
    """
    if len(blocks) != len(widths):
        raise ValueError(
            f"every stage needs a width: found {len(blocks)} stages and {len(widths)} widths"
        )
    layers = [from_linen(Stem(widths[0], sync))]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        first = from_linen(PreActBlock(width, 2 if stage > 0 else 1, sync))
        layers += [first, *[from_linen(PreActBlock(width, 1, sync))] * (count - 1)]
    return layers


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Two blocks, for the battery of models."""
    from jaxlearn.core import stack
    from jaxlearn.models.cifar_resnet import classifier

    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    return {"preact-resnet": (stack([*preact_resnet((1, 1), (4, 6)), classifier(3)]), x)}
