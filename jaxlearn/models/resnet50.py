"""ResNet-50 for CIFAR: bottleneck blocks (He et al., CVPR 2016, section 4.1) on a 3 x 3 stem."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.bottleneck import Bottleneck

BLOCKS = (3, 4, 6, 3)


UNIFORM = linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default, which the released code of GraNet leaves this network at."""


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
        x = linen.relu(BatchNorm(self.sync)(conv(self.width, 3, init=UNIFORM)(x), train))
        for stage, count in enumerate(self.blocks):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Bottleneck(self.width * 2**stage, stride, self.sync, UNIFORM)(x, train)
        return linen.Dense(self.classes, use_bias=False, kernel_init=UNIFORM)(x.mean((1, 2)))


def resnet50(
    blocks: tuple[int, ...] = BLOCKS, width: int = 64, classes: int = 10, *, sync: bool = False
) -> Model:
    """The network as a model.

    Example:
        >>> model = resnet50((1, 1), width=4)
        >>> x = jax.numpy.zeros((2, 8, 8, 3))
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), x)
        >>> jax.eval_shape(model.apply, *variables, x)[0].shape
        (2, 10)
    """
    return from_linen(ResNet50(blocks, width, classes, sync))
