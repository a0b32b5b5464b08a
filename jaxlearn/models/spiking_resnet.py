"""Pre-activation spiking ResNets (Meng et al., ICCV 2023: "PreAct-ResNet-18" on CIFAR)."""

from collections.abc import Sequence

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif

UNIFORM = linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform within `1 / sqrt(fan in)`, for the linear head; its bias starts at 0."""


class ResidualBlock(linen.Module):
    """`s = lif(bn(x))`, `y = conv(drop(lif(bn(conv(s))))) + shortcut(s)`.

    The shortcut carries the spikes `s` of the first neurons: unchanged, or through a 1x1
    convolution where the shape changes.
    """

    channels: int
    stride: int = 1
    dropout: float = 0.0
    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, height, width, channels in]` to `[.., height / stride, .., channels]`."""
        spikes = Lif(self.neuron)(BatchNorm()(x, train))
        y = Conv(self.channels, stride=self.stride)(spikes)
        y = Lif(self.neuron)(BatchNorm()(y, train))
        y = Conv(self.channels)(linen.Dropout(self.dropout, deterministic=not train)(y))
        if self.stride == 1 and x.shape[-1] == self.channels:
            return y + spikes
        return y + Conv(self.channels, 1, self.stride, name="shortcut")(spikes)


class Readout(linen.Module):
    """`linear(drop(pool(lif(bn(x)))))`, averaging 4 x 4 windows, without neurons after it."""

    classes: int
    dropout: float = 0.0
    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, height, width, channels]` to logits `[batch, classes]`."""
        x = Lif(self.neuron)(BatchNorm()(x, train))
        x = linen.avg_pool(x, (4, 4), (4, 4)).reshape(x.shape[0], -1)
        x = linen.Dropout(self.dropout, deterministic=not train)(x)
        return linen.Dense(self.classes, kernel_init=UNIFORM)(x)


def spiking_resnet18_blocks(
    classes: int = 10,
    *,
    width: int = 64,
    repeats: Sequence[int] = (2, 2, 2, 2),
    dropout: float = 0.0,
    neuron: Neuron = SLTT_NEURON,
) -> list[Model]:
    """A stem, eight residual blocks and a readout, for one step on `[batch, height, width, in]`.

    Widths are 64-128-256-512 and the first block of every stage but the first halves the image,
    which needs sides of at least 32. The readout is the last block; a local rule takes the blocks
    before it as they are.

    Args:
        classes: size of the output.
        width: channels of the first stage, doubled in every later one.
        repeats: residual blocks per stage; `(3, 4, 6, 3)` is ResNet-34.
        dropout: before the second convolution of each block and before the linear map; under
            `over_time` one mask holds for the sequence.
        neuron: options of all neurons.

    Example:
        >>> from jaxlearn.core import stack
        >>> blocks = spiking_resnet18_blocks(width=2)
        >>> images = jax.numpy.zeros((1, 32, 32, 3))
        >>> params, _ = jax.eval_shape(stack(blocks).init, jax.random.key(0), images)
        >>> params["9"].keys()
        dict_keys(['BatchNorm_0', 'Dense_0'])
    """
    blocks: list[linen.Module] = [Conv(width, bias=False)]
    for stage, count in enumerate(repeats):
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            blocks.append(ResidualBlock(width * 2**stage, stride, dropout, neuron))
    return [from_linen(block) for block in [*blocks, Readout(classes, dropout, neuron)]]
