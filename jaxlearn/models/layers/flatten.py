"""Everything of an example in a row."""

import jax
from flax import linen


class Flatten(linen.Module):
    """`[batch, ...]` to `[batch, features]`, the last axis fastest."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, features]`."""
        return x.reshape(x.shape[0], -1)
