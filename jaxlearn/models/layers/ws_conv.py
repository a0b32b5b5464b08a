"""Convolutions whose weights are standardised, for networks without normalisation."""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.models.layers.conv import KAIMING, convolve


def standardised(kernel: jax.Array, gain: jax.Array, epsilon: float = 1e-4) -> jax.Array:
    """`gain (W - mean) / sqrt(fan_in var + epsilon)` per output channel (Brock et al., ICLR 2021).

    The variance is the unbiased one, over the `fan_in` weights of a channel.

    Args:
        kernel: `[height, width, channels in, channels out]`.
        gain: `[channels out]`.
        epsilon: added to the scaled variance.

    Raises:
        ValueError: when a channel has a single weight, which has no variance.

    Example:
        >>> kernel = jnp.array([1.0, 2.0, 3.0, 6.0]).reshape(2, 2, 1, 1)
        >>> [round(w, 2) for w in standardised(kernel, jnp.ones(1), 0.0).ravel().tolist()]
        [-0.46, -0.23, 0.0, 0.69]
    """
    fan_in = kernel[..., 0].size
    if fan_in < 2:
        raise ValueError(f"weights of shape {kernel.shape} have one weight per channel, need 2")
    centred = kernel - kernel.mean((0, 1, 2))
    variance = jnp.square(centred).sum((0, 1, 2)) / (fan_in - 1)
    return gain * centred / jnp.sqrt(fan_in * variance + epsilon)


class WSConv(linen.Module):
    """A square convolution with standardised weights, a gain and a bias per channel."""

    channels: int
    size: int = 3
    stride: int = 1

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, height, width, channels in]` to `[.., height / stride, .., channels]`."""
        shape = (self.size, self.size, x.shape[-1], self.channels)
        kernel = self.param("kernel", KAIMING, shape)
        gain = self.param("gain", linen.initializers.ones, shape[-1:])
        bias = self.param("bias", linen.initializers.zeros, shape[-1:])
        return convolve(x, standardised(kernel, gain), self.stride) + bias
