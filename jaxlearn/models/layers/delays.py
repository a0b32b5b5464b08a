"""Linear maps with a learnable delay per synapse: dilated convolutions with learnable spacings.

Hammouamri, Khalfaoui-Hassani and Masquelier, "Learning Delays in Spiking Neural Networks using
Dilated Convolutions with Learnable Spacings", ICLR 2024, arXiv 2306.17670.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxlearn.models.layers.canonical import by_platform

Bump = Literal["gauss", "triangle", "v1"]
"""The shape of a synapse in training: `bumps`, `triangles` or `between`."""
DELAYS = "delays"
"""The collection of a layer's own clock, and of positions that are not learned."""
WIDENING = 0.27
"""Added to sigma: the narrowest bump is this wide."""
NARROWEST = 0.23
"""Where sigma stops shrinking: with the widening, a width of 0.5 steps."""


def bumps(position: jax.Array, sigma: jax.typing.ArrayLike, length: int) -> jax.Array:
    """Normalised Gaussians over the taps of a kernel: `[...]` to `[length, ...]`.

    `X[n] = exp(-(n - p)^2 / (2 s^2)) / (1e-7 + sum over n)`, with the centre
    `p = position + length // 2` and the width `s = |sigma| + 0.27`. The tap n delays by
    `length - 1 - n` steps.
    """
    taps, centre = _taps(position, length)
    x = jnp.exp(-0.5 * ((taps - centre) / (jnp.abs(sigma) + WIDENING)) ** 2)
    return x / (x.sum(0) + 1e-7)


def triangles(position: jax.Array, sigma: jax.typing.ArrayLike, length: int) -> jax.Array:
    """Normalised triangles over the taps, the version "max": `[...]` to `[length, ...]`.

    `X[n] = max(0, 1 + |sigma| - |n - p|) / (1e-7 + sum over n)`, p as in `bumps`. With `sigma = 0`
    and a whole position it is the weight at one delay. Where no tap is at a kink,
    `dX[n]/dp = (D[n] - X[n] sum over m of D[m]) / Z`, Z the divisor and D the sign of `n - p`
    under the triangle, 0 beside it.

    Example:
        >>> triangles(jnp.array([0.0]), 1.0, 5)[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.25, 0.0]
    """
    taps, centre = _taps(position, length)
    x = jnp.maximum(0.0, 1 + jnp.abs(sigma) - jnp.abs(taps - centre))
    return x / (x.sum(0) + 1e-7)


def between(position: jax.Array, length: int) -> jax.Array:
    """Two taps share the weight, the version "v1": `[...]` to `[length, ...]`.

    With `k = floor(p)` and `r = p - k`, p as in `bumps`: `X[k] = 1 - r`, `X[k + 1] = r`, 0
    elsewhere. The slope is -1 at k and 1 at k + 1, so that a position feels its two neighbours
    alone; at a whole position it is that of the right side.

    Example:
        >>> between(jnp.array([-0.75]), 5)[:, 0].tolist()
        [0.0, 0.75, 0.25, 0.0, 0.0]
    """
    taps, centre = _taps(position, length)
    low = jnp.floor(centre)
    rest = centre - low
    return (taps == low) * (1 - rest) + (taps == low + 1) * rest


def one_hot(position: jax.Array, length: int) -> jax.Array:
    """1 at the tap nearest to each position, 0 at the others: `[...]` to `[length, ...]`."""
    taps, centre = _taps(jnp.round(position), length)
    return jnp.maximum(0.0, 1 - jnp.abs(taps - centre))


def _taps(position: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    taps = jnp.arange(length, dtype=position.dtype).reshape(-1, *[1] * position.ndim)
    return taps, position + length // 2


def delayed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`y[t] = sum over taps n of kernel[n] x[t - (length - 1 - n)]`, nothing from the future.

    On CPU it is `layers.canonical`, other platforms use their convolution.

    Args:
        x: `[batch, T, inputs]`; zero before it begins and after it ends.
        kernel: `[length, inputs, outputs]`.

    Returns:
        `[batch, T + (length - 1) // 2, outputs]`: what is late still arrives.
    """
    length = len(kernel)
    return by_platform(x, kernel, strides=(1,), padding=[(length - 1, (length - 1) // 2)])


class DelayedLinear(linen.Module):
    """`y_o[t] = sum over inputs i of w_oi x_i[t - d_oi]`, with a delay `d_oi` per synapse.

    In training a synapse is a normalised bump in time (Gaussian, unless `bump` says otherwise), so
    that its position has a gradient; in evaluation positions are rounded and it is the weight at
    one delay.
    `d = length - 1 - length // 2 - position`.

    Parameters: `kernel` `[synapses, inputs, features]`, uniform as Kaiming's for ReLU, and
    `position`, of the same shape, uniform over the delays; keep positions within
    `+-length // 2` (`transforms.box`). The collection `"delays"` counts the training steps, for
    sigma, and holds positions that are not learned.

    Attributes:
        features: outputs.
        length: delays are 0 to `length - 1` steps; odd.
        sigma: of the bumps by training step (`transforms.schedules.shrinking_sigma`), or a number.
        synapses: per pair of input and output.
        learned: otherwise positions are drawn, rounded and kept.
        rounded: whether evaluation rounds; without, it has the bumps of training.
        bump: their shape; `"v1"` has no width, so sigma plays no part there.

    Example:
        >>> layer = DelayedLinear(2, 5)
        >>> variables = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 7, 3)))
        >>> jax.jit(layer.apply)(variables, jnp.ones((1, 7, 3))).shape
        (1, 9, 2)
    """

    features: int
    length: int
    sigma: optax.Schedule | float = NARROWEST
    synapses: int = 1
    learned: bool = True
    rounded: bool = True
    bump: Bump = "gauss"

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Map `[batch, T, inputs]` to `[batch, T + (length - 1) // 2, features]`."""
        if self.bump not in get_args(Bump):
            raise ValueError(f"bump={self.bump!r}; expected one of {get_args(Bump)}")
        if self.length < 1 or self.length % 2 == 0 or self.synapses < 1:
            raise ValueError(
                f"length={self.length}, synapses={self.synapses}: expected an odd length and at "
                "least one synapse"
            )
        if x.ndim != 3:
            raise ValueError(f"delays need inputs [batch, time, features], found {x.shape}")
        shape = (self.synapses, x.shape[-1], self.features)
        weights = self.param("kernel", _kaiming, shape)
        step = self.variable(DELAYS, "step", jnp.zeros, (), jnp.int32)
        if self.learned:
            position = self.param("position", self._draw, shape)
        else:
            draw = lambda: jnp.round(self._draw(self.make_rng("params"), shape))
            position = self.variable(DELAYS, "position", draw).value
        if not self.learned or (self.rounded and not train):
            shares = one_hot(position, self.length)
        else:
            sigma = self.sigma(step.value) if callable(self.sigma) else self.sigma
            # cheaper to make again than to keep: the kernel is rebuilt at every step
            shares = jax.checkpoint(self._shares)(position, sigma)
        if train and not self.is_initializing():
            step.value += 1
        return delayed(x, jnp.einsum("nsio,sio->nio", shares, weights))

    def _shares(self, position: jax.Array, sigma: jax.typing.ArrayLike) -> jax.Array:
        if self.bump == "v1":
            return between(position, self.length)
        return (triangles if self.bump == "triangle" else bumps)(position, sigma, self.length)

    def _draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Uniform from `floor(-length / 2)` to `length // 2`, then cut to the kernel."""
        half = self.length // 2
        drawn = jax.random.uniform(key, shape, minval=-self.length // 2, maxval=half)
        return jnp.clip(drawn, -half, half)


def _kaiming(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    bound = (6 / (shape[0] * shape[1])) ** 0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
