"""What a layer that learns by itself is asked to do."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxlearn.core.contracts import Batch, Metrics


class LayerTask(NamedTuple):
    """A local loss and the layer's share in the prediction.

    Attributes:
        objective: `(output of the layer, batch) -> (loss, metrics)`.
        vote: `(output of the layer, batch) -> [B, ...]`; the votes of all layers are added up.
    """

    objective: Callable[[Any, Batch], tuple[jax.Array, Metrics]]
    vote: Callable[[Any, Batch], jax.Array]
