"""LeNet-300-100, the multilayer perceptron of the pruning papers."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen


class LeNet300100(linen.Module):
    """`linear(relu(linear(relu(linear(x)))))` with 300 and 100 hidden units.

    Images are flattened. Weights are drawn with variance `2 / inputs` from a normal that is cut off
    (kaiming's has tails), biases are 0. On 28 x 28 images there are 266,200 weights and 410 biases.

    Attributes:
        classes: number of logits.
        widths: hidden units.
    """

    classes: int = 10
    widths: tuple[int, ...] = (300, 100)

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, classes]`."""
        init = linen.initializers.he_normal()
        x = x.reshape(x.shape[0], -1)
        for width in self.widths:
            x = linen.relu(linen.Dense(width, kernel_init=init)(x))
        return linen.Dense(self.classes, kernel_init=init)(x)


def lenet_300_100(classes: int = 10, widths: tuple[int, ...] = (300, 100)) -> Model:
    """The network as a model.

    Example:
        >>> model = lenet_300_100()
        >>> params, _ = jax.eval_shape(
        ...     model.init, jax.random.key(0), jax.numpy.zeros((1, 28, 28, 1))
        ... )
        >>> sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
        266200
    """
    return from_linen(LeNet300100(classes, widths))
