"""AugLocal's heads for VGG: copies of convolutions, and a perceptron of two hidden layers."""

from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.imagenet_vgg import ConvLayer
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.linear import linear

UNIFORM = linen.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default: uniform within `1 / sqrt(fan in)`."""


class CopiedConvs(linen.Module):
    """Convolutions, the flattened map averaged to `hidden` numbers, 2 x (linear, BN, ReLU), linear.

    Attributes:
        convolutions: width of each, and whether a max pooling precedes it.
        classes: number of logits.
        hidden: units of the perceptron.
        sync: batch statistics over all devices, see `BatchNorm`.
    """

    convolutions: tuple[tuple[int, bool], ...]
    classes: int
    hidden: int = 512
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        for width, pool in self.convolutions:
            x = ConvLayer(width, pool, self.sync, UNIFORM)(x, train)
        # channels first: neighbouring numbers are neighbouring pixels of one channel
        x = average_windows(x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1), self.hidden)
        for _ in range(2):
            x = linen.relu(BatchNorm(self.sync)(linear(self.hidden, self.hidden)(x), train))
        return linear(self.hidden, self.classes)(x)


def average_windows(x: jax.Array, size: int) -> jax.Array:
    """Average `[batch, n]` to `[batch, size]`: cell i is the mean from `floor(i n / size)` up to,
    not including, `ceil((i + 1) n / size)`, as in PyTorch's adaptive pooling.

    Example:
        >>> average_windows(jnp.arange(4.0)[None], 2).tolist()
        [[0.5, 2.5]]
    """
    n = x.shape[1]
    if n % size == 0:
        return x.reshape(x.shape[0], size, -1).mean(-1)
    cell, place = np.arange(size)[:, None], np.arange(n)[None]
    inside = (place >= cell * n // size) & (place < -(-(cell + 1) * n // size))
    return x @ jnp.asarray((inside / inside.sum(1, keepdims=True)).T, x.dtype)


def copied_convs_head(
    widths: Sequence[int],
    layer: int,
    selected: Sequence[int],
    classes: int,
    *,
    hidden: int = 512,
    sync: bool = False,
) -> Model:
    """The head of `layer` in a VGG of these layer widths; each change of width pools first.

    Heads that are alike are one and the same `Model` (see `loop` of `local_learning`).
    """
    before = [layer, *selected[:-1]]
    pools = [widths[a] != widths[b] for a, b in zip(before, selected, strict=True)]
    plan = tuple(zip((widths[j] for j in selected), pools, strict=True))
    return _head(plan, classes, hidden, sync)


@lru_cache
def _head(plan: tuple[tuple[int, bool], ...], classes: int, hidden: int, sync: bool) -> Model:
    return from_linen(CopiedConvs(plan, classes, hidden, sync))
