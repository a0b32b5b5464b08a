"""Two convolutions and a hidden layer, for experiments that have to fit a laptop."""

from collections.abc import Sequence

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.conv import KAIMING


class ConvRelu(linen.Module):
    """`relu(conv(x))`, the stride being 2.

    Attributes:
        channels: that come out.
        size: of the kernel.
    """

    channels: int
    size: int = 3

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / 2, W / 2, channels]`, rounded up."""
        kernel = (self.size, self.size)
        return linen.relu(linen.Conv(self.channels, kernel, (2, 2), kernel_init=KAIMING)(x))


class FlatRelu(linen.Module):
    """`relu(x W + b)` of the flattened input.

    Attributes:
        width: units.
    """

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, width]`."""
        init = linen.initializers.he_normal()
        return linen.relu(linen.Dense(self.width, kernel_init=init)(x.reshape(len(x), -1)))


class FlatLinear(linen.Module):
    """`x W + b` of the flattened input: a classifier for any layer.

    Attributes:
        outputs: units.
        bias: whether there is a b.
    """

    outputs: int
    bias: bool = True

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, outputs]`."""
        return linen.Dense(self.outputs, use_bias=self.bias)(x.reshape(len(x), -1))


def small_cnn(channels: Sequence[int] = (16, 32), hidden: int = 64) -> list[Model]:
    """The layers without the classifier: a 5 x 5 and 3 x 3 convolutions, and a hidden layer.

    Every convolution halves the side. On 28 x 28 grey images the default has 105,472 parameters.

    Args:
        channels: of the convolutions.
        hidden: units of the last layer.

    Example:
        >>> from jaxlearn.core import stack
        >>> x = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
        >>> params, _ = jax.eval_shape(stack(small_cnn()).init, jax.random.key(0), x)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        105472
    """
    sizes = [5, *[3] * (len(channels) - 1)]
    convs = [ConvRelu(width, size) for width, size in zip(channels, sizes, strict=True)]
    return [from_linen(layer) for layer in (*convs, FlatRelu(hidden))]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A network on 8 x 8 images, for the battery of models."""
    from jaxlearn.core import stack

    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    return {"small-cnn": (stack([*small_cnn((4, 6), 8), from_linen(FlatLinear(3))]), x)}
