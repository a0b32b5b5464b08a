"""DenseNet for CIFAR as a list of layers (Huang, Liu, van der Maaten, Weinberger, CVPR 2017)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.layers.batch_norm import BatchNorm

DENSENET121 = (6, 12, 24, 16)
"""Dense layers per block of DenseNet-121."""


class DenseLayer(linen.Module):
    """`[conv3x3(relu(BN(conv1x1(relu(BN(x)))))), x]`: `growth` channels more, 4 growth inside.

    Attributes:
        growth: new channels.
        sync: statistics over all devices, see `BatchNorm`.
    """

    growth: int
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, C + growth]`."""
        y = conv(4 * self.growth, 1)(linen.relu(BatchNorm(self.sync)(x, train)))
        y = conv(self.growth, 3)(linen.relu(BatchNorm(self.sync)(y, train)))
        return jnp.concatenate([y, x], -1)


class Transition(linen.Module):
    """`average pool 2x2(conv1x1(relu(BN(x))))`: half the channels, half the side.

    Attributes:
        sync: statistics over all devices, see `BatchNorm`.
    """

    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / 2, W / 2, C / 2]`."""
        y = conv(x.shape[-1] // 2, 1)(linen.relu(BatchNorm(self.sync)(x, train)))
        return linen.avg_pool(y, (2, 2), (2, 2))


class Normed(linen.Module):
    """`relu(BN(x))`, what stands before the classifier of networks with norms first.

    Attributes:
        sync: statistics over all devices, see `BatchNorm`.
    """

    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Keep the shape."""
        return linen.relu(BatchNorm(self.sync)(x, train))


def densenet(
    blocks: Sequence[int] = DENSENET121, growth: int = 32, *, sync: bool = False
) -> list[Model]:
    """The layers without the classifier: a plain 3x3 stem of 2 growth channels, dense blocks with
    transitions between them, and the last norm.

    Args:
        blocks: dense layers of each block.
        growth: channels that each of them adds.
        sync: batch statistics over all devices.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.cifar_resnet import classifier
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        >>> model = stack([*densenet(), classifier(100)])
        >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        7048548
    """
    layers = [from_linen(conv(2 * growth, 3))]
    for i, count in enumerate(blocks):
        layers += [from_linen(Transition(sync))] if i else []
        layers += [from_linen(DenseLayer(growth, sync)) for _ in range(count)]
    return [*layers, from_linen(Normed(sync))]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Two blocks of one layer, for the battery of models."""
    from jaxlearn.core import stack
    from jaxlearn.models.cifar_resnet import classifier

    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    return {"densenet": (stack([*densenet((1, 1), 4), classifier(3)]), x)}
