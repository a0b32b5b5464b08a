"""Feed-forward spiking networks whose synapses have delays, layer by layer over a sequence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.delays import NARROWEST, Bump, DelayedLinear, delayed
from jaxlearn.models.layers.leaky_integrator import LeakyIntegratorSequence
from jaxlearn.models.layers.lif import LifSequence
from jaxlearn.models.layers.neurons import NeuronLayer
from jaxlearn.models.layers.synapse_filter import SynapseFilterSequence

Synapse = Literal["delay", "fixed delay", "dense taps"]
Answer = Literal["softmax", "mean", "max", "spikes"]


def delay_neuron(tau: float) -> Neuron:
    """The neuron of Hammouamri et al., ICLR 2024: `h = (1 - 1/tau) v + x`, hard reset, ATan.

    The reset is constant in the backward pass; the surrogate is `(alpha/2) / (1 + (pi/2 alpha
    (h - 1))^2)` with `alpha = 5`.
    """
    return Neuron(decay=1 - 1 / tau, reset="hard", detach_reset=True, surrogate="atan", alpha=5.0)


class DenseTaps(linen.Module):
    """A free weight for every delay: the temporal convolution that delays are a part of."""

    features: int
    length: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, inputs]` to `[batch, T + (length - 1) // 2, features]`."""
        init = linen.initializers.variance_scaling(2.0, "fan_in", "uniform", in_axis=(0, 1))
        return delayed(x, self.param("kernel", init, (self.length, x.shape[-1], self.features)))


class Synapses(linen.Module):
    """The linear part of a layer; see `delay_blocks` for the attributes."""

    features: int
    length: int
    synapse: Synapse = "delay"
    sigma: optax.Schedule | float = NARROWEST
    count: int = 1
    rounded: bool = True
    bump: Bump = "gauss"
    filtered: float | None = None
    dropout: float = 0.0

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, inputs]` to `[batch, T + (length - 1) // 2, features]`."""
        if self.filtered is not None:
            currents = SynapseFilterSequence(self.filtered, learned=True)(jnp.moveaxis(x, 1, 0))
            drop = linen.Dropout(self.dropout, broadcast_dims=(0,))
            x = jnp.moveaxis(drop(currents, deterministic=not train), 0, 1)
        if self.synapse == "dense taps":
            return DenseTaps(self.features, self.length)(x)
        return DelayedLinear(
            self.features,
            self.length,
            self.sigma,
            self.count,
            learned=self.synapse == "delay",
            rounded=self.rounded,
            bump=self.bump,
        )(x, train)


class SpikingLayer(linen.Module):
    """Synapses, batch normalisation over batch and time, neurons, dropout.

    A dropout mask holds for the whole sequence.
    """

    synapses: Synapses
    neuron: Neuron
    dropout: float = 0.0
    sync: bool = False
    layer: NeuronLayer = LifSequence

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, inputs]` to spikes `[batch, T', features]`."""
        x = BatchNorm(self.sync)(self.synapses(x, train), train)
        spikes = self.layer(self.neuron)(jnp.moveaxis(x, 1, 0))
        drop = linen.Dropout(self.dropout, broadcast_dims=(0,))
        return jnp.moveaxis(drop(spikes, deterministic=not train), 0, 1)


class Readout(linen.Module):
    """Synapses, neurons that do not fire, and one vector of logits from their membranes v.

    `"softmax"`: `sum_t softmax(v[t])`, `"mean"` and `"max"` of v over time, `"spikes"`: the number
    of spikes of neurons that do fire, at the threshold 2.
    """

    synapses: Synapses
    neuron: Neuron
    answer: Answer = "softmax"

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, inputs]` to `[batch, classes]`."""
        x = jnp.moveaxis(self.synapses(x, train), 1, 0)
        if self.answer == "spikes":
            return LifSequence(replace(self.neuron, threshold=2.0))(x).sum(0)
        v = LeakyIntegratorSequence(self.neuron.decay)(x)
        if self.answer == "softmax":
            return jax.nn.softmax(v).sum(0)
        return v.mean(0) if self.answer == "mean" else v.max(0)


def delay_blocks(
    classes: int,
    widths: Sequence[int],
    length: int,
    *,
    tau: float,
    synapse: Synapse = "delay",
    sigma: optax.Schedule | float = NARROWEST,
    count: int = 1,
    dropout: float = 0.0,
    answer: Answer = "softmax",
    rounded: bool = True,
    sync: bool = False,
    layer: NeuronLayer = LifSequence,
    bump: Bump = "gauss",
    filtered: float | None = None,
) -> list[Model]:
    """One block per layer of neurons, then the readout, on sequences `[batch, T, inputs]`.

    Args:
        classes: size of the output `[batch, classes]`.
        widths: neurons of the hidden layers.
        length: of the kernels in time, odd; 1 is a network without delays. Every layer lengthens
            the sequence by `(length - 1) // 2`.
        tau: time constant of the neurons in steps.
        synapse: learned delays, delays that are drawn and kept, or a weight for each delay.
        sigma: of the bumps, by training step.
        count: synapses per pair of neurons.
        dropout: of spikes, one mask per sequence.
        answer: how the readout sums up time, see `Readout`.
        rounded: whether delays are rounded in evaluation.
        sync: batch statistics over all devices.
        layer: the kind of the hidden neurons, any `...Sequence` of `layers.neurons`:
            `ParametricLifSequence` learns the leak, `HeavisideSequence` has no membrane.
        bump: the shape of learned delays in training, see `layers.delays`.
        filtered: the decay that learned filters of spikes start from, one filter per layer that
            spikes come to (`layers.synapse_filter`); none by default.

    Example:
        >>> from jaxlearn.core import stack
        >>> model = stack(delay_blocks(3, (8,), 5, tau=1.5))
        >>> x = jnp.ones((2, 6, 4))
        >>> run = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (2, 3)
    """
    neuron = delay_neuron(tau)
    # what comes from outside is no spike train, so the first layer has no filter
    first = Synapses(classes, length, synapse, sigma, count, rounded, bump)
    # a filter wants spikes of 0 and 1: what dropout scales up would make its leak negative
    behind, before = (0.0, dropout) if filtered is None else (dropout, 0.0)
    later = first.clone(filtered=filtered, dropout=behind)
    kinds = [first, *[later] * len(widths)]
    *synapses, last = (
        kind.clone(features=width) for kind, width in zip(kinds, [*widths, classes], strict=True)
    )
    hidden = [SpikingLayer(part, neuron, before, sync, layer) for part in synapses]
    return [from_linen(layer) for layer in [*hidden, Readout(last, neuron, answer)]]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A layer of delays and a readout, for the battery of models."""
    from jaxlearn.core import stack

    x = 2 * jax.random.normal(jax.random.key(0), (4, 6, 3))
    kinds: tuple[Synapse, ...] = ("delay", "dense taps")
    make = lambda kind: stack(delay_blocks(3, (6,), 5, tau=1.5, synapse=kind, count=2))
    found = {f"spiking-{kind}".replace(" ", "-"): (make(kind), x) for kind in kinds}
    filtered = delay_blocks(3, (6,), 5, tau=1.5, bump="triangle", filtered=0.5)
    return found | {"spiking-delay-filtered": (stack(filtered), x)}
