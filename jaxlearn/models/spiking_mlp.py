"""A fully connected spiking network."""

from collections.abc import Sequence

import jax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.lif import SLTT_NEURON, Lif
from jaxlearn.models.layers.neurons import NeuronLayer


class SpikingDense(linen.Module):
    """`neurons(gain * W x + b)`, with `W` LeCun normal.

    Normalised inputs reach the threshold 1 only now and then; a gain of 2 keeps deep stacks firing
    without batch normalisation.
    """

    width: int
    neuron: Neuron = SLTT_NEURON
    gain: float = 2.0
    layer: NeuronLayer = Lif

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to spikes `[batch, width]`."""
        init = linen.initializers.variance_scaling(self.gain**2, "fan_in", "normal")
        x = x.reshape(x.shape[0], -1)
        return self.layer(self.neuron)(linen.Dense(self.width, kernel_init=init)(x))


def spiking_mlp_blocks(
    classes: int = 10,
    *,
    widths: Sequence[int] = (64, 64),
    neuron: Neuron = SLTT_NEURON,
    layer: NeuronLayer = Lif,
) -> list[Model]:
    """Linear map and neurons per block, then a linear readout; one step on `[batch, ...]`.

    `layer` is the kind of neuron, any of `layers.neurons`.

    Example:
        >>> from jaxlearn.core import stack
        >>> model = stack(spiking_mlp_blocks(3, widths=(8,)))
        >>> x = jax.numpy.ones((2, 4, 4, 1))
        >>> run = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (2, 3)
    """
    blocks = [from_linen(SpikingDense(width, neuron, layer=layer)) for width in widths]
    return [*blocks, from_linen(linen.Dense(classes))]
