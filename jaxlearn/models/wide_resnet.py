"""Wide residual networks for CIFAR: Zagoruyko and Komodakis, BMVC 2016, arXiv 1605.07146.

In the form that MixtureGrowth (Pham et al., WACV 2024) grows: the second normalisation of a block
may be left out, and the classifier has no bias.
"""

from functools import partial

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv


class WideStem(linen.Module):
    """A 3x3 convolution of the image."""

    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H, W, width]`."""
        return Conv(self.width, 3, bias=False, name="stem")(x)


class WideBlock(linen.Module):
    """`shortcut(x) + conv2(relu(BN2(conv1(a))))` of `a = relu(BN1(x))`.

    The shortcut is `x`, or `conv1x1(a)` where the shape changes.

    Attributes:
        width: output channels.
        stride: of the first convolution.
        second_norm: without it BN2 is the identity, as in MixtureGrowth.
    """

    width: int
    stride: int = 1
    second_norm: bool = True

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, width]`."""
        conv = partial(Conv, self.width, bias=False)
        a = linen.relu(BatchNorm(name="norm1")(x, train))
        y = conv(3, self.stride, name="conv1")(a)
        y = BatchNorm(name="norm2")(y, train) if self.second_norm else y
        y = conv(3, name="conv2")(linen.relu(y))
        if self.stride != 1 or x.shape[-1] != self.width:
            x = conv(1, self.stride, name="shortcut")(a)
        return x + y


class WideClassifier(linen.Module):
    """`W pool(relu(BN(x)))`, the mean over all places, without bias."""

    classes: int

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, classes]`."""
        x = linen.relu(BatchNorm(name="norm")(x, train)).mean((1, 2))
        return linen.Dense(self.classes, use_bias=False, name="classifier")(x)


def wide_resnet(
    depth: int, width: float, classes: int, *, second_norm: bool = True, stem: int = 16
) -> list[Model]:
    """WRN-depth-width: the stem, three stages of `(depth - 4) / 6` blocks, the classifier.

    Args:
        depth: 6n + 4.
        width: factor of the channels 16, 32, 64 of the three stages.
        classes: logits.
        second_norm: see `WideBlock`.
        stem: channels of the stem; 16 for a network by itself, 8 for a member of half the width.

    Raises:
        ValueError: for a depth that is not 6n + 4, or channels that are not whole numbers.

    Example:
        >>> from jaxlearn.core import stack
        >>> model, images = stack(wide_resnet(10, 1, 10)), jax.numpy.ones((1, 8, 8, 3))
        >>> params, state = jax.eval_shape(model.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        77840
    """
    blocks, left = divmod(depth - 4, 6)
    widths = [width * channels for channels in (16, 32, 64)]
    if left or blocks < 1 or any(channels != int(channels) for channels in widths):
        raise ValueError(
            f"depth={depth}, width={width}; expected a depth of 6n + 4 and whole channels"
        )
    layers = [from_linen(WideStem(stem))]
    for stage, channels in enumerate(map(int, widths)):
        make = lambda stride, own=channels: from_linen(WideBlock(own, stride, second_norm))
        layers += [make(2 if stage else 1), *[make(1)] * (blocks - 1)]
    return [*layers, from_linen(WideClassifier(classes))]


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A stem, a block and a classifier, for the battery of models."""
    from jaxlearn.core import stack

    layers = [from_linen(WideStem(4)), from_linen(WideBlock(8, 2)), from_linen(WideClassifier(3))]
    return {"wide-resnet": (stack(layers), jax.random.normal(jax.random.key(0), (4, 4, 4, 3)))}
