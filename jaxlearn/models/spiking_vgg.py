"""Spiking VGG-11 for event frames (Meng et al., ICCV 2023, on DVS-CIFAR10 and DVS-Gesture)."""

from collections.abc import Sequence

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.adaptive_pool import adaptive_average_pool
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif

VGG11 = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions per stage; a stage ends with averages over 2 x 2."""


class SpikingVGGLayer(linen.Module):
    """`drop(lif(bn(conv(x))))`, then averages over 2 x 2 at the end of a stage."""

    channels: int
    pool: bool = False
    dropout: float = 0.0
    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, in]` to `[batch, H, W, channels]`, pooled to half of each side."""
        x = Lif(self.neuron)(BatchNorm()(Conv(self.channels)(x), train))
        x = linen.Dropout(self.dropout, deterministic=not train)(x)
        return linen.avg_pool(x, (2, 2), (2, 2)) if self.pool else x


class PooledReadout(linen.Module):
    """A linear map, `N(0, 0.01^2)` at first, of the image averaged to `cells x cells`."""

    classes: int
    cells: int = 7

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, channels]` to logits `[batch, classes]`."""
        x = adaptive_average_pool(x, self.cells).reshape(x.shape[0], -1)
        return linen.Dense(self.classes, kernel_init=linen.initializers.normal(0.01))(x)


def spiking_vgg11_blocks(
    classes: int = 10,
    *,
    stages: Sequence[Sequence[int]] = VGG11,
    cells: int = 7,
    dropout: float = 0.0,
    neuron: Neuron = SLTT_NEURON,
) -> list[Model]:
    """Eight layers of neurons and a readout, for one step on frames `[batch, H, W, in]`.

    Args:
        classes: size of the output.
        stages: channels of the convolutions; each stage halves the image, which needs sides of
            at least `2^stages`.
        cells: the readout sees the image averaged to so many cells a side.
        dropout: of spikes; under `over_time` one mask holds for the sequence.
        neuron: options of all neurons.

    Example:
        >>> from jaxlearn.core import stack
        >>> model = stack(spiking_vgg11_blocks(3, stages=((2,), (4, 4)), cells=1))
        >>> x = jax.numpy.zeros((1, 8, 8, 2))
        >>> run = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (1, 3)
    """
    layers = [
        SpikingVGGLayer(channels, i == len(stage) - 1, dropout, neuron)
        for stage in stages
        for i, channels in enumerate(stage)
    ]
    return [from_linen(layer) for layer in [*layers, PooledReadout(classes, cells)]]
