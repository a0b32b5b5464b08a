"""Neurons without a membrane."""

import jax
import jax.numpy as jnp
from flax import linen
from jaxlearn_kernels.lif import Neuron, fire

from jaxlearn.models.layers.lif import SLTT_NEURON


class Heaviside(linen.Module):
    """`s[t] = H(x[t] - threshold)`, its derivative the neuron's surrogate; nothing is remembered.

    Of the options of `neuron`, `threshold`, `strict`, `surrogate` and `alpha` matter.

    Example:
        >>> Heaviside(Neuron(threshold=0.0)).apply({}, jnp.array([-0.1, 0.0, 2.0])).tolist()
        [0.0, 1.0, 1.0]
    """

    neuron: Neuron = SLTT_NEURON

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map inputs `[...]` to spikes `[...]`, in the dtype of `x`."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return fire(wide, self.neuron).astype(x.dtype)


HeavisideSequence = Heaviside
"""The same layer: every step is by itself."""


def neuron_examples(detach_carry: bool = False) -> dict[str, tuple[linen.Module, linen.Module]]:
    """Both forms, for the battery of neurons."""
    neuron = Neuron(threshold=0.5, surrogate="atan", detach_carry=detach_carry)
    return {"heaviside": (Heaviside(neuron), HeavisideSequence(neuron))}
