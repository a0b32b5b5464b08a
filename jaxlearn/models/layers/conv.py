"""A convolution that stays fast inside loops on every platform."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxlearn.models.layers.shifted import in_pieces, together

KAIMING = linen.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Kaiming normal over fan-out: standard deviation `sqrt(2 / (height * width * channels out))`."""
Shape = tuple[int, ...]


class Conv(linen.Module):
    """A square convolution padded by `size // 2` on every side.

    Attributes:
        channels: out.
        size: of the kernel, odd.
        stride: between outputs.
        bias: add one.
        kernel_init: its initializer.
    """

    channels: int
    size: int = 3
    stride: int = 1
    bias: bool = True
    kernel_init: linen.initializers.Initializer = KAIMING

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, height, width, channels in]` to `[.., height / stride, .., channels]`."""
        shape = (self.size, self.size, x.shape[-1], self.channels)
        kernel = self.param("kernel", self.kernel_init, shape)
        y = convolve(x, kernel, self.stride)
        return y + self.param("bias", linen.initializers.zeros, shape[-1:]) if self.bias else y


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """`y[b, i, j, o] = sum_{p,q,c} x[b, i stride + p - r, j stride + q - r, c] kernel[p, q, c, o]`.

    The image is padded by `r = size // 2` zeros. On CPU it is a matrix product of shifted images, a
    few images at a time, so that the shifted ones stay in the cache. Inside a loop, as rules over
    time are, XLA runs a convolution there without its fast kernel, some 30 times slower; outside of
    one this costs up to twice as much forward where channels are few, and with both gradients as
    much as XLA's convolution or down to a fifth. Other platforms use their convolution.

    Args:
        x: `[batch, height, width, channels in]`.
        kernel: `[size, size, channels in, channels out]` of odd size.
        stride: distance between outputs.

    Example:
        >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    product = partial(_as_products, stride=stride)
    return lax.platform_dependent(x, kernel, cpu=product, default=partial(_native, stride=stride))


def _native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    padding = [(kernel.shape[0] // 2,) * 2] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=numbers)


def _as_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    product = partial(_as_product, kernel=kernel, stride=stride)
    return in_pieces(product, x, images_together(x.shape, kernel.shape, stride))


def images_together(x: Shape, kernel: Shape, stride: int) -> int:
    """How many images one product takes on CPU, a divisor of their number."""
    size, height, width, _ = x
    rows = -(-height // stride) * -(-width // stride)
    return together(size, rows, math.prod(kernel[:-1]))


def _as_product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    size, (_, height, width, _) = kernel.shape[0], x.shape
    r = size // 2
    wide = jnp.pad(x, ((0, 0), (r, r), (r, r), (0, 0)))
    shifted = [
        wide[:, p : p + height : stride, q : q + width : stride]
        for p in range(size)
        for q in range(size)
    ]
    return jnp.concatenate(shifted, -1) @ kernel.reshape(-1, kernel.shape[-1])
