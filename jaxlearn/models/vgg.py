"""VGG for CIFAR (Simonyan & Zisserman, ICLR 2015), with batch normalisation."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv

_FIRST = (64, 64, "pool", 128, 128, "pool")
VGG16 = (*_FIRST, *(256,) * 3, "pool", *(512,) * 3, "pool", *(512,) * 3)
VGG19 = (*_FIRST, *(256,) * 4, "pool", *(512,) * 4, "pool", *(512,) * 4)


class Vgg(linen.Module):
    """3 x 3 convolutions with batch normalisation, 2 x 2 max pooling, one linear classifier.

    Convolutions have no bias and kaiming normal weights over fan-out, the classifier a normal of
    standard deviation 0.01. After the last layer the image is averaged.

    Attributes:
        layers: channels of each convolution, and `"pool"` between them.
        classes: number of logits.
        sync: statistics over all devices, see `BatchNorm`.
    """

    layers: tuple[int | str, ...] = VGG19
    classes: int = 10
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        for layer in self.layers:
            if isinstance(layer, str):  # "pool"
                x = linen.max_pool(x, (2, 2), (2, 2))
            else:
                x = Conv(layer, 3, bias=False)(x)
                x = linen.relu(BatchNorm(self.sync)(x, train))
        init = linen.initializers.normal(0.01)
        return linen.Dense(self.classes, kernel_init=init)(x.mean((1, 2)))


def vgg(layers: tuple[int | str, ...] = VGG19, classes: int = 10, *, sync: bool = False) -> Model:
    """The network as a model.

    Example:
        >>> model = vgg((8, "pool", 16))
        >>> x = jax.numpy.zeros((2, 8, 8, 3))
        >>> run = lambda key: model.apply(*model.init(key, x), x)[0]
        >>> jax.eval_shape(run, jax.random.key(0)).shape
        (2, 10)
    """
    return from_linen(Vgg(layers, classes, sync))
