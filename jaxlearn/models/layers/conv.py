"""A convolution that stays fast inside loops on every platform."""

import jax
from flax import linen

from jaxlearn.models.layers.canonical import by_platform

KAIMING = linen.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Kaiming normal over fan-out: standard deviation `sqrt(2 / (height * width * channels out))`."""


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

    The image is padded by `r = size // 2` zeros. On CPU it is `canonical`, fast inside loops and
    under `vmap` over kernels too; other platforms use their convolution.

    Args:
        x: `[batch, height, width, channels in]`.
        kernel: `[size, size, channels in, channels out]` of odd size.
        stride: distance between outputs.

    Example:
        >>> import jax.numpy as jnp
        >>> convolve(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    if kernel.shape[0] == 1:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    window = {"strides": (stride,) * 2, "padding": [(kernel.shape[0] // 2,) * 2] * 2}
    return by_platform(x, kernel, **window)
