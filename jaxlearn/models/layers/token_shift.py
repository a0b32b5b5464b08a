"""The token before: what RWKV's mixes look at beside the current one."""

import jax
import jax.numpy as jnp
from flax import linen

from jaxlearn.core import SEQUENCE


class TokenShift(linen.Module):
    """`xx[t] = x[t-1]`, with `xx[0]` the last token of the call before, or 0.

    The last token is a variable of the collection `"sequence"`, so that a sequence can be fed in
    parts of any length, one token included.

    Example:
        >>> layer = TokenShift()
        >>> x = jnp.array([[[1.0], [2.0], [3.0]]])
        >>> xx, state = layer.apply({}, x, mutable=["sequence"])
        >>> xx.ravel().tolist(), state["sequence"]["last"].tolist()
        ([0.0, 1.0, 2.0], [[3.0]])
    """

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, T, C]` to the same shape."""
        last = self.variable(SEQUENCE, "last", jnp.zeros, (x.shape[0], x.shape[-1]), x.dtype)
        shifted = jnp.concatenate([last.value[:, None], x[:, :-1]], axis=1)
        if not self.is_initializing():
            last.value = x[:, -1]
        return shifted
