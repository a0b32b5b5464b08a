"""Spiking ResNets without normalisation, for ImageNet: NF-ResNet-34, 50 and 101.

Meng et al., ICCV 2023, after Brock et al., ICLR 2021. Normaliser-free residual networks with
neurons in place of ReLUs: standardised weights, branches scaled by what the variance of the stream
is expected to be.
"""

from collections.abc import Sequence

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif
from jaxlearn.models.layers.ws_conv import WSConv

GAIN = 2.74
"""What spikes are multiplied by."""
ALPHA = 0.2
"""Scale of the residual branches."""


class NFStem(linen.Module):
    """A 7x7 convolution of stride 2 and averages over 3x3 of stride 2: a quarter of the side."""

    channels: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, in]` to `[batch, H / 4, W / 4, channels]`."""
        x = WSConv(self.channels, 7, 2)(x)
        return linen.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


class NFBlock(linen.Module):
    """`y = shortcut + skip alpha conv(z)`, where every convolution reads `gain lif(.)`.

    The first neurons read `x / beta`. The shortcut is x, or a 1x1 convolution of the first spikes
    where the shape changes. `skip` is a learned number that starts at 0.

    Attributes:
        channels: within the block; four times as many come out of a bottleneck.
        stride: of the first 3x3 convolution.
        beta: the expected deviation of x.
        changes: whether the shortcut is a convolution.
        bottleneck: convolutions 1x1, 3x3, 1x1 instead of 3x3, 3x3.
        neuron: options of all neurons.
    """

    channels: int
    stride: int = 1
    beta: float = 1.0
    changes: bool = False
    bottleneck: bool = False
    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, in]` to `[batch, H / stride, W / stride, out]`."""
        first = GAIN * Lif(self.neuron)(x / self.beta)
        out = self.channels * (4 if self.bottleneck else 1)
        shortcut = WSConv(out, 1, self.stride, name="shortcut")(first) if self.changes else x
        if self.bottleneck:
            y = WSConv(self.channels, 3, self.stride)(self._spikes(WSConv(self.channels, 1)(first)))
            y = WSConv(out, 1)(self._spikes(y))
        else:
            y = WSConv(out)(self._spikes(WSConv(self.channels, 3, self.stride)(first)))
        return shortcut + self.param("skip", linen.initializers.zeros, ()) * ALPHA * y

    def _spikes(self, x: jax.Array) -> jax.Array:
        return GAIN * Lif(self.neuron)(x)


class NFReadout(linen.Module):
    """A linear map, zero at first, of the average over the image."""

    classes: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, channels]` to logits `[batch, classes]`."""
        zero = linen.initializers.zeros
        return linen.Dense(self.classes, kernel_init=zero)(x.mean((1, 2)))


def spiking_nf_resnet_blocks(
    classes: int = 1000,
    *,
    width: int = 64,
    repeats: Sequence[int] = (3, 4, 6, 3),
    bottleneck: bool = False,
    neuron: Neuron = SLTT_NEURON,
) -> list[Model]:
    """A stem, residual blocks and a readout, for one step on `[batch, H, W, in]`.

    `(3, 4, 6, 3)` is NF-ResNet-34, with bottlenecks 50, and `(3, 4, 23, 3)` with them 101. The
    expected variance of the stream, beta^2, is 1 behind the stem, grows by `alpha^2` with every
    block and starts again at `1 + alpha^2` behind a block whose shortcut is a convolution.

    Args:
        classes: size of the output.
        width: channels of the first stage, doubled in every later one.
        repeats: residual blocks per stage.
        bottleneck: see `NFBlock`.
        neuron: options of all neurons.

    Example:
        >>> from jaxlearn.core import stack
        >>> model = stack(spiking_nf_resnet_blocks(5, width=2, repeats=(1, 1)))
        >>> x = jax.ShapeDtypeStruct((1, 16, 16, 3), "float32")
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), x)
        >>> jax.eval_shape(model.apply, *variables, x)[0].shape
        (1, 5)
    """
    blocks: list[linen.Module] = [NFStem(width)]
    variance = 1.0
    for stage, count in enumerate(repeats):
        for i in range(count):
            changes = i == 0 and (stage > 0 or bottleneck)
            stride = 2 if stage and i == 0 else 1
            channels = width * 2**stage
            block = NFBlock(channels, stride, variance**0.5, changes, bottleneck, neuron)
            blocks.append(block)
            variance = (1.0 if changes else variance) + ALPHA**2
    return [from_linen(block) for block in [*blocks, NFReadout(classes)]]
