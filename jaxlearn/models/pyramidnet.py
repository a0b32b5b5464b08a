"""PyramidNet for CIFAR as a list of layers (Han, Kim, Kim, CVPR 2017, arXiv 1610.02915)."""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.cifar_resnet import conv
from jaxlearn.models.densenet import Normed
from jaxlearn.models.layers.batch_norm import BatchNorm

STEM = 16


class PyramidStem(linen.Module):
    """`BN(conv3x3(x))`, 16 channels.

    Attributes:
        sync: statistics over all devices, see `BatchNorm`.
    """

    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, 16]`."""
        return BatchNorm(self.sync)(conv(STEM, 3)(x), train)


class PyramidBottleneck(linen.Module):
    """`BN 1x1 BN relu 3x3 BN relu 1x1 BN` of x, plus x with zero channels behind (figure 6d).

    Attributes:
        width: channels inside; `4 * width` come out.
        stride: 2 halves height and width; the shortcut is averaged over 2 x 2.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    stride: int = 1
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, 4 * width]`."""
        norm = lambda y: BatchNorm(self.sync)(y, train)
        y = norm(conv(self.width, 1)(norm(x)))
        y = norm(conv(self.width, 3, self.stride)(linen.relu(y)))
        y = norm(conv(4 * self.width, 1)(linen.relu(y)))
        if self.stride == 2:
            x = linen.avg_pool(x, (2, 2), (2, 2))
        return y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1])))


def pyramid_widths(depth: int, alpha: float) -> list[int]:
    """`round(16 + k alpha / (3 n))` for block k = 1 .. 3n, n blocks in each of three stages: eq. 3.

    Raises:
        ValueError: when the depth is not 9 n + 2.

    Example:
        >>> len(pyramid_widths(200, 240)), pyramid_widths(200, 240)[-1]
        (66, 256)
    """
    n, rest = divmod(depth - 2, 9)
    if rest or n < 1:
        raise ValueError(f"depth={depth}; bottleneck networks have 9 n + 2 layers, such as 200")
    return [round(STEM + k * alpha / (3 * n)) for k in range(1, 3 * n + 1)]


def pyramidnet(depth: int = 200, alpha: float = 240, *, sync: bool = False) -> list[Model]:
    """The layers without the classifier: the stem, every block, the last norm.

    Args:
        depth: 9 n + 2, n bottleneck blocks in each of three stages; later stages halve the side.
        alpha: channels added from the first block to the last.
        sync: batch statistics over all devices.

    Raises:
        ValueError: when the depth is not 9 n + 2.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.cifar_resnet import classifier
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
        >>> model = stack([*pyramidnet(20, 12), classifier(100)])
        >>> params, _ = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        67736
    """
    widths = pyramid_widths(depth, alpha)
    n = len(widths) // 3
    block = lambda k, width: PyramidBottleneck(width, 2 if k in (n, 2 * n) else 1, sync)
    middle = [from_linen(block(k, width)) for k, width in enumerate(widths)]
    return [from_linen(PyramidStem(sync)), *middle, from_linen(Normed(sync))]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """Three blocks, for the battery of models."""
    from jaxlearn.core import stack
    from jaxlearn.models.cifar_resnet import classifier

    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    return {"pyramidnet": (stack([*pyramidnet(11, 6), classifier(3)]), x)}
