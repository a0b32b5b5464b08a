"""ResNet-50 for CIFAR: bottleneck blocks (He et al., CVPR 2016, section 4.1) on a 3 x 3 stem."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm

BLOCKS = (3, 4, 6, 3)


class Bottleneck(linen.Module):
    """`relu(BN(1x1) relu(BN(3x3)) relu(BN(1x1)) x + shortcut(x))`, the output four times as wide.

    The stride is in the 3 x 3 convolution; the shortcut is the identity, or a 1 x 1 convolution
    with batch normalisation where the shape changes.

    Attributes:
        width: channels inside; `4 * width` come out.
        stride: 2 halves height and width.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    stride: int = 1
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, 4 * width]`."""
        out = 4 * self.width
        y = linen.relu(BatchNorm(self.sync)(_conv(self.width, 1)(x), train))
        y = linen.relu(BatchNorm(self.sync)(_conv(self.width, 3, self.stride)(y), train))
        y = BatchNorm(self.sync)(_conv(out, 1)(y), train)
        if self.stride != 1 or x.shape[-1] != out:
            x = BatchNorm(self.sync)(_conv(out, 1, self.stride)(x), train)
        return linen.relu(x + y)


class ResNet50(linen.Module):
    """A 3 x 3 stem, four stages of bottleneck blocks, an average and a classifier without bias.

    Attributes:
        blocks: blocks per stage; every stage but the first halves height and width.
        width: channels of the stem, doubled at every stage.
        classes: number of logits.
        sync: statistics over all devices, see `BatchNorm`.
    """

    blocks: tuple[int, ...] = BLOCKS
    width: int = 64
    classes: int = 10
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        x = linen.relu(BatchNorm(self.sync)(_conv(self.width, 3)(x), train))
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Bottleneck(self.width * 2**stage, stride, self.sync)(x, train)
        init = linen.initializers.he_normal()
        return linen.Dense(self.classes, use_bias=False, kernel_init=init)(x.mean((1, 2)))


def resnet50(
    blocks: tuple[int, ...] = BLOCKS, width: int = 64, classes: int = 10, *, sync: bool = False
) -> Model:
    """The network as a model.

    Example:
        >>> model = resnet50((1, 1), width=4)
        >>> x = jax.numpy.zeros((2, 8, 8, 3))
        >>> model.apply(*model.init(jax.random.key(0), x), x)[0].shape
        (2, 10)
    """
    return from_linen(ResNet50(blocks, width, classes, sync))


def _conv(width: int, size: int, stride: int = 1) -> linen.Conv:
    pad = ((size // 2, size // 2),) * 2
    init = linen.initializers.he_normal()
    return linen.Conv(width, (size, size), (stride, stride), pad, use_bias=False, kernel_init=init)
