"""A small convolutional spiking network, for experiments that have to fit a laptop."""

from collections.abc import Sequence

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif
from jaxlearn.models.spiking_resnet import UNIFORM


class SpikingConv(linen.Module):
    """`lif(bn(conv(x)))` with a 3x3 convolution."""

    channels: int
    stride: int = 1
    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, height, width, channels in]` to spikes `[.., height / stride, ..]`."""
        x = Conv(self.channels, stride=self.stride)(x)
        return Lif(self.neuron)(BatchNorm()(x, train))


class Linear(linen.Module):
    """A linear map of everything flattened, without neurons after it."""

    classes: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to logits `[batch, classes]`."""
        return linen.Dense(self.classes, kernel_init=UNIFORM)(x.reshape(x.shape[0], -1))


def spiking_cnn_blocks(
    classes: int = 10,
    *,
    channels: Sequence[int] = (32, 64, 128),
    strides: Sequence[int] = (1, 2, 2),
    neuron: Neuron = SLTT_NEURON,
) -> list[Model]:
    """Convolution, batch normalisation and neurons per block, then a linear readout.

    One step on `[batch, height, width, in]`. The readout is the last block; a local rule takes the
    blocks before it as they are.

    Example:
        >>> from jaxlearn.core import stack
        >>> model = stack(spiking_cnn_blocks(3, channels=(2,), strides=(2,)))
        >>> x = jax.numpy.zeros((1, 4, 4, 1))
        >>> run = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (1, 3)
    """
    if len(channels) != len(strides):
        found = f"{len(channels)} channels, {len(strides)} strides"
        raise ValueError(f"give one stride per block: found {found}")
    pairs = zip(channels, strides, strict=True)
    blocks = [from_linen(SpikingConv(width, stride, neuron)) for width, stride in pairs]
    return [*blocks, from_linen(Linear(classes))]
