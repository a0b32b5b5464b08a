"""Blocks of shallow networks, each ending in its activation, as rules with local targets see them.

A block that follows an image layer pools at its own beginning: so the output of a convolutional
block, which local rules teach, is the full map.
"""

from collections.abc import Callable, Sequence

import jax
from flax import linen

from jaxlearn.core import Model, from_linen
from jaxlearn.models.layers.conv import Conv

Activation = Callable[[jax.Array], jax.Array]
VGG11 = (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


def max_pool(x: jax.Array, size: int) -> jax.Array:
    """Maxima over windows of `size x size`: `[B, H, W, C] -> [B, H / size, W / size, C]`.

    Raises:
        ValueError: when the windows do not divide the image.

    Example:
        >>> max_pool(jax.numpy.arange(4.0).reshape(1, 2, 2, 1), 2).ravel().tolist()
        [3.0]
    """
    batch, height, width, channels = x.shape
    if height % size or width % size:
        raise ValueError(
            f"windows of {size} x {size} do not divide a map of {height} x {width}; other images "
            "or fewer poolings fit"
        )
    windows = x.reshape(batch, height // size, size, width // size, size, channels)
    return windows.max((2, 4))


class DenseBlock(linen.Module):
    """`activation(flat(pool(x)) W + b)`.

    Attributes:
        width: units.
        activation: between linear map and output; without one the block is a readout.
        pool: side of the pooled windows, 1 for none.
        zero: start with weights of 0, which rules can leave whose signals pass through none.
    """

    width: int
    activation: Activation | None = linen.tanh
    pool: int = 1
    zero: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, width]`."""
        x = max_pool(x, self.pool) if self.pool > 1 else x
        init = linen.initializers.zeros if self.zero else linen.initializers.lecun_normal()
        y = linen.Dense(self.width, kernel_init=init)(x.reshape(x.shape[0], -1))
        return y if self.activation is None else self.activation(y)


class ConvBlock(linen.Module):
    """`activation(conv(pool(x)))`, padded to keep the size of the map.

    Attributes:
        channels: channels out.
        size: side of the filters, odd.
        activation: after the convolution.
        pool: side of the pooled windows, 1 for none.
    """

    channels: int
    size: int = 5
    activation: Activation = linen.tanh
    pool: int = 1

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, H, W, C]` to `[batch, H / pool, W / pool, channels]`."""
        x = max_pool(x, self.pool) if self.pool > 1 else x
        return self.activation(Conv(self.channels, self.size)(x))


def dense_blocks(
    classes: int = 10, widths: Sequence[int] = (1000,), *, activation: Activation = linen.tanh
) -> tuple[list[Model], Model]:
    """Hidden blocks of these widths, and the readout.

    Example:
        >>> blocks, readout = dense_blocks(widths=(8, 8))
        >>> blocks[0] == blocks[1]
        True
    """
    made = {width: from_linen(DenseBlock(width, activation)) for width in widths}
    return [made[width] for width in widths], from_linen(DenseBlock(classes, None))


def conv_blocks(
    classes: int = 10,
    layers: Sequence[int | str] = (32, "pool"),
    widths: Sequence[int] = (1000,),
    *,
    size: int = 5,
    activation: Activation = linen.tanh,
) -> tuple[list[Model], Model]:
    """Convolutions, dense blocks, and the readout.

    The defaults are the convolutional network of Frenkel, Lefebvre and Bol (2021); `VGG11` with
    `size=3`, ReLU and no dense blocks is VGG's smallest network without normalisation.

    Args:
        classes: number of outputs.
        layers: channels of each convolution, and `"pool"` (2 x 2) where the next block is to begin
            with it.
        widths: units of the dense blocks.
        size: side of the filters.
        activation: at the end of every block.

    Example:
        >>> len(conv_blocks(10, VGG11, ())[0])
        8
    """
    blocks: list[Model] = []
    pool = 1
    for layer in layers:
        if isinstance(layer, str):  # "pool"
            pool = 2
            continue
        blocks.append(from_linen(ConvBlock(layer, size, activation, pool)))
        pool = 1
    for width in widths:
        blocks.append(from_linen(DenseBlock(width, activation, pool)))
        pool = 1
    return blocks, from_linen(DenseBlock(classes, None, pool))


def examples() -> dict[str, tuple[Model, jax.Array]]:
    """A small network of each kind, for the battery of models."""
    from jaxlearn.core import stack

    x = jax.random.normal(jax.random.key(0), (4, 8, 8, 2))
    networks = {"dense": dense_blocks(3, (6,)), "conv": conv_blocks(3, (4, "pool"), (6,), size=3)}
    return {
        f"{name}-blocks": (stack([*blocks, readout]), x)
        for name, (blocks, readout) in networks.items()
    }
