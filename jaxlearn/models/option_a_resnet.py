"""The residual networks for CIFAR with shortcuts that have no parameters: option A.

He et al., CVPR 2016, Section 4.2. `cifar_resnet` is the same network with option B, projections.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Model, Params, State, from_linen
from jaxlearn.models.cifar_resnet import WIDTHS, Stem
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.models.layers.conv import Conv

RESNET20 = (3, 3, 3)
"""Blocks per stage of ResNet-20."""
RESNET56 = (9, 9, 9)
"""Blocks per stage of ResNet-56."""
Convolution = Callable[[int, int, str], linen.Module]
"""`(channels, stride, name) -> module`: a 3x3 convolution."""


def conv3x3(channels: int, stride: int, name: str) -> linen.Module:
    """The ordinary convolution, without bias."""
    return Conv(channels, 3, stride, bias=False, name=name)


def shortcut(x: jax.Array, width: int, stride: int) -> jax.Array:
    """Every `stride`-th pixel, with as many zero channels before as behind: option A.

    Raises:
        ValueError: when the new channels are fewer or cannot be shared out equally.

    Example:
        >>> shortcut(jnp.ones((1, 4, 4, 2)), 4, 2)[0, 0, 0].tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    missing = width - x.shape[-1]
    if missing < 0 or missing % 2:
        raise ValueError(
            f"option A pads channels equally on both sides: {x.shape[-1]} do not become {width}"
        )
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (missing // 2, missing // 2)))


class OptionABlock(linen.Module):
    """`relu(alpha BN(conv(relu(BN(conv(x))))) + shortcut(x))`, the stride in the first convolution.

    `alpha` is 1; with `rezero` it is a trained number that starts at 0, so that a block starts as
    `relu(shortcut(x))` (Bachlechner et al., UAI 2021).

    Attributes:
        width: output channels.
        stride: 2 halves height and width.
        convolution: makes the two convolutions.
        rezero: whether the branch has a factor of its own.
        sync: statistics over all devices, see `BatchNorm`.
    """

    width: int
    stride: int = 1
    convolution: Convolution = conv3x3
    rezero: bool = False
    sync: bool = False

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / stride, W / stride, width]`."""
        y = self.convolution(self.width, self.stride, "conv1")(x)
        y = linen.relu(BatchNorm(self.sync, name="bn1")(y, train))
        y = self.convolution(self.width, 1, "conv2")(y)
        y = BatchNorm(self.sync, name="bn2")(y, train)
        if self.rezero:
            y = self.param("alpha", linen.initializers.zeros, ()) * y
        return linen.relu(y + shortcut(x, self.width, self.stride))


def option_a_resnet(
    blocks: Sequence[int] = RESNET20,
    widths: Sequence[int] = WIDTHS,
    *,
    convolution: Convolution = conv3x3,
    rezero: bool = False,
    sync: bool = False,
) -> list[Model]:
    """The layers without the classifier: the stem, then every basic block.

    Args:
        blocks: basic blocks of each stage; ResNet-(6n + 2) has n in each of three.
        widths: channels of each stage; every stage but the first halves height and width.
        convolution: makes the convolutions of the blocks; the stem's is always ordinary.
        rezero: see `OptionABlock`.
        sync: see `BatchNorm`.

    Raises:
        ValueError: when `blocks` and `widths` have different lengths.

    Example:
        >>> from jaxlearn.core import stack
        >>> from jaxlearn.models.cifar_resnet import classifier
        >>> resnet20 = stack([*option_a_resnet(RESNET20), classifier(10)])
        >>> images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        >>> params, _ = jax.eval_shape(resnet20.init, jax.random.key(0), images)
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        269722
    """
    if len(blocks) != len(widths):
        raise ValueError(
            f"every stage needs a width: found {len(blocks)} stages and {len(widths)} widths"
        )
    layers = [from_linen(Stem(widths[0], sync))]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True)):
        make = lambda stride, width=width: from_linen(
            OptionABlock(width, stride, convolution, rezero, sync)
        )
        first, others = make(2 if stage else 1), make(1)
        layers += [first, *[others] * (count - 1)]
    return layers


def from_torch(
    arrays: Mapping[str, jax.typing.ArrayLike], blocks: Sequence[int] = RESNET20
) -> tuple[Params, State]:
    """Parameters and state of `stack([*option_a_resnet(blocks), classifier(n)])` from PyTorch's.

    Args:
        arrays: by the names of the PyTorch model: `conv1.weight`, `bn1.running_mean`,
            `layer1.0.conv1.weight`, ..., `linear.bias`; kernels are OIHW.
        blocks: basic blocks of each stage.

    Raises:
        ValueError: when an array is missing.
    """

    def get(name: str) -> jax.Array:
        if name not in arrays:
            raise ValueError(f"the weights have no array {name!r}; are they of {blocks} blocks?")
        return jnp.asarray(arrays[name])

    conv = lambda name: {"kernel": get(f"{name}.weight").transpose(2, 3, 1, 0)}
    norm = lambda name: {
        "BatchNorm_0": {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}
    }
    moments = lambda name: {
        "BatchNorm_0": {"mean": get(f"{name}.running_mean"), "var": get(f"{name}.running_var")}
    }
    places = [f"layer{i}.{j}" for i, count in enumerate(blocks, 1) for j in range(count)]
    params = {"0": {"Conv_0": conv("conv1"), "BatchNorm_0": norm("bn1")}}
    stats = {"0": {"BatchNorm_0": moments("bn1")}}
    for i, place in enumerate(places, 1):
        params[str(i)] = {f"conv{k}": conv(f"{place}.conv{k}") for k in (1, 2)}
        params[str(i)] |= {f"bn{k}": norm(f"{place}.bn{k}") for k in (1, 2)}
        stats[str(i)] = {f"bn{k}": moments(f"{place}.bn{k}") for k in (1, 2)}
    linear = {"kernel": get("linear.weight").T, "bias": get("linear.bias")}
    params[str(len(places) + 1)] = {"Dense_0": linear}
    return params, {"batch_stats": stats}
