"""Multilayer perceptrons of quadratic neurons."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, from_linen, stack
from jaxlearn.models.layers.linear import linear
from jaxlearn.models.layers.quadratic import QuadraticDense


class QuadraticRelu(linen.Module):
    """`relu(h(x))` of a layer of quadratic neurons.

    Attributes:
        width: neurons.
        form: of the neurons, see `jaxlearn.models.layers.quadratic.quadratic`; `"squared"` has its
            own activation and gets no other.
        start: `"relinear"` or `"random"`.
    """

    width: int
    form: str = "full"
    start: str = "relinear"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., inputs]` to `[..., width]`."""
        y = QuadraticDense(self.width, self.form, self.start)(x)
        return y if self.form == "squared" else linen.relu(y)


class Readout(linen.Module):
    """An ordinary linear layer.

    Attributes:
        outputs: features of the result.
    """

    outputs: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., inputs]` to `[..., outputs]`."""
        return linear(x.shape[-1], self.outputs)(x)


class OneNeuron(linen.Module):
    """A single neuron as a classifier of two classes: the logits are `[0, h(x)]`.

    A conventional neuron separates by a line, a quadratic one by a conic (an ellipse, a hyperbola).

    Attributes:
        form: of the neuron.
    """

    form: str = "full"

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, inputs]` to `[batch, 2]`."""
        h = QuadraticDense(1, self.form)(x)
        return jnp.concatenate([jnp.zeros_like(h), h], -1)


def quadratic_mlp(
    widths: Sequence[int], outputs: int, *, form: str = "full", start: str = "relinear"
) -> Model:
    """Hidden layers of quadratic neurons with ReLU, then an ordinary linear layer.

    Nothing normalises the activations. When all three sets of weights are random of scale s, a
    layer of n neurons maps activations of size a to about `s^2 n a^2`, so L layers give
    `a^(2^L)`: that either explodes or vanishes, which the ReLinear start prevents.

    Example:
        >>> net = quadratic_mlp((8, 8), 2)
        >>> params, _ = jax.jit(net.init)(jax.random.key(0), jnp.ones((1, 2)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        306
    """
    hidden = [from_linen(QuadraticRelu(width, form, start)) for width in widths]
    return stack([*hidden, from_linen(Readout(outputs))])


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Two hidden layers, and one neuron, at toy size."""
    x = jax.random.normal(jax.random.key(0), (8, 2))
    return {
        "quadratic-mlp": (quadratic_mlp((4, 4), 2), x),
        "one-neuron": (from_linen(OneNeuron()), x),
    }
