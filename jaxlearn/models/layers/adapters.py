"""Small trainable layers between the frozen layers of a network; each starts as the identity."""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.models.layers.gelu import gelu
from jaxlearn.models.layers.random_features import Features
from jaxlearn.models.layers.snnk import OMEGA, frozen_draws

SMALL = linen.initializers.normal(0.02)
KAIMING = linen.initializers.he_uniform()


class SNNKAdapter(linen.Module):
    """`x + s * (Omega phi(x))` with `Omega [d, m]` and `s [d]`, zero at the start.

    The modulating vector `s` stands for the up-projection of other adapters, so there are
    `d m + d` parameters. `Omega` starts as `psi` of random rows (Sehanobish et al., ICLR 2024).

    Attributes:
        features: the pair of maps; with `m = 16` ReLU features of 768 inputs there are 13,056
            parameters.
        rows_init: draws the rows; `SMALL` has standard deviation 0.02, `KAIMING` is uniform.
    """

    features: Features
    rows_init: jax.nn.initializers.Initializer = SMALL

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., d]` to `[..., d]`."""
        inputs = x.shape[-1]
        draws = frozen_draws(self, self.features, inputs)
        rows = lambda key: self.rows_init(key, (inputs, inputs), x.dtype)
        omega = self.param(OMEGA, lambda key: self.features.psi(draws, rows(key), None))
        scale = self.param("scale", linen.initializers.zeros, (inputs,))
        return x + scale * (self.features.phi(draws, x) @ omega.T)


class SNNKBottleneck(linen.Module):
    """`x + U (Omega phi(x)) + b` with `Omega [r, m]` and `U [d, r]`, zero at the start.

    Attributes:
        features: the pair of maps.
        down: `r`.
        rows_init: draws the rows that `Omega` starts from.
    """

    features: Features
    down: int
    rows_init: jax.nn.initializers.Initializer = SMALL

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., d]` to `[..., d]`."""
        inputs = x.shape[-1]
        draws = frozen_draws(self, self.features, inputs)
        rows = lambda key: self.rows_init(key, (inputs, self.down), x.dtype).T
        omega = self.param(OMEGA, lambda key: self.features.psi(draws, rows(key), None))
        up = linen.Dense(inputs, kernel_init=linen.initializers.zeros, name="up")
        return x + up(self.features.phi(draws, x) @ omega.T)


class BottleneckAdapter(linen.Module):
    """`x + U gelu(D x + a) + b` (Houlsby et al., ICML 2019), `U` zero at the start.

    There are `2 d r + r + d` parameters.

    Attributes:
        down: `r`.
    """

    down: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[..., d]` to `[..., d]`."""
        hidden = gelu(linen.Dense(self.down, kernel_init=SMALL, name="down")(x))
        up = linen.Dense(x.shape[-1], kernel_init=linen.initializers.zeros, name="up")
        return x + up(hidden)


def no_adapter(x: jax.Array) -> jax.Array:
    """`x`."""
    return jnp.asarray(x)
