"""A convolution that stays fast inside loops on every platform."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

KAIMING = linen.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Kaiming normal over fan-out: standard deviation `sqrt(2 / (height * width * channels out))`."""


class Conv(linen.Module):
    """A square convolution padded by `size // 2` on every side, Kaiming normal over fan-out.

    Attributes:
        channels: out.
        size: of the kernel, odd.
        stride: between outputs.
        bias: add one.
        native: the platform's own convolution on the CPU too: twice as fast outside of loops.
    """

    channels: int
    size: int = 3
    stride: int = 1
    bias: bool = True
    native: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, height, width, channels in]` to `[.., height / stride, .., channels]`."""
        shape = (self.size, self.size, x.shape[-1], self.channels)
        kernel = self.param("kernel", KAIMING, shape)
        y = (_native if self.native else convolve)(x, kernel, self.stride)
        return y + self.param("bias", linen.initializers.zeros, shape[-1:]) if self.bias else y


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """`y[b, i, j, o] = sum_{p,q,c} x[b, i stride + p - r, j stride + q - r, c] kernel[p, q, c, o]`.

    The image is padded by `r = size // 2` zeros. On CPU it is a matrix product of shifted images:
    XLA runs a convolution inside a loop there without its fast kernel, some 30 times slower, and
    rules over time are loops. Other platforms use their convolution.

    Args:
        x: `[batch, height, width, channels in]`.
        kernel: `[size, size, channels in, channels out]` of odd size.
        stride: distance between outputs.

    Example:
        >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    # the shifted images are made again in the backward pass: what is kept is x, as everywhere
    product = jax.checkpoint(partial(_as_product, stride=stride))
    return lax.platform_dependent(x, kernel, cpu=product, default=partial(_native, stride=stride))


def _native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    padding = [(kernel.shape[0] // 2,) * 2] * 2
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=numbers)


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
