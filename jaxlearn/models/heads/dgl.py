"""The auxiliary network of decoupled greedy learning (Belilovsky et al., ICML 2020)."""

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.layers.adaptive_pool import adaptive_average_pool
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.linear import linear


class DGLHead(linen.Module):
    """Pool to a quarter, 3 x (conv1x1, BN, ReLU), pool to 2x2, 2 x (linear, BN, ReLU), linear.

    Attributes:
        classes: number of logits.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    classes: int
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, s, s, C]` to `[batch, classes]`; the first pooling goes to ceil(s / 4)."""
        width = x.shape[-1]
        x = adaptive_average_pool(x, -(-x.shape[1] // 4))
        for _ in range(3):
            x = linen.relu(BatchNorm(self.sync)(conv(width, 1)(x), train))
        x = adaptive_average_pool(x, 2).reshape(x.shape[0], -1)
        for _ in range(2):
            x = linear(4 * width, 4 * width, bias=False)(x)
            x = linen.relu(BatchNorm(self.sync)(x, train))
        return linear(4 * width, self.classes)(x)


def dgl_head(classes: int, *, sync: bool = False) -> Model:
    """The head of DGL's local loss as a model."""
    return from_linen(DGLHead(classes, sync))
