"""Batch normalisation with the conventions of the papers, per device or over all devices."""

import jax
from flax import linen

from jaxlearn.core import axis


class BatchNorm(linen.Module):
    """`(x - mean) / sqrt(var + 1e-5) * scale + bias` per channel, the last axis.

    Training uses the statistics of the batch and moves the running ones by a tenth
    (`"batch_stats"`), evaluation uses the running ones. On several devices each normalises its own
    examples, as in the papers' multi-GPU runs, and the step averages the running statistics; with
    `sync` the batch statistics themselves are taken over all devices.

    Attributes:
        sync: take the batch statistics over the data axis where there is one.
        momentum: share of the running statistics that stays.
        epsilon: added to the variance.
    """

    sync: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Normalise `[..., channels]`."""
        over = axis.DATA if self.sync and axis.bound() else None
        norm = linen.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=over,
        )
        return norm(x)
