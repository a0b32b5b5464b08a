"""Predicting the edges of a graph from the rows of its nodes.

Park et al., "Forward learning of graph neural networks", ICLR 2024, section 3.3. A batch has as
`"inputs"` `[B, 2, 2]` pairs of nodes, the ends of an edge and of a made-up one, as
`data.link_split` draws them. Layers give an object with `rows` `[nodes, d]` (`models.gnn.Nodes`).
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlearn.core.contracts import Batch, Metrics
from jaxlearn.objectives.classification import weighted_mean
from jaxlearn.objectives.goodness import forward_forward_loss, goodness
from jaxlearn.objectives.layer_task import LayerTask


def products(x: Any, batch: Batch) -> jax.Array:
    """`z_u * z_v`, unit by unit, of both pairs of every example: `[B, 2, d]`."""
    ends = x.rows[batch["inputs"]]
    return ends[:, :, 0] * ends[:, :, 1]


def link_cross_entropy() -> LayerTask:
    """ForwardGNN-CE: the score of a pair is `s = z_u . z_v`, its probability `sigmoid(s)`.

    The loss is the mean over edges and made-up edges of the binary cross-entropy, the vote of a
    layer the probabilities `[B, 2]`.
    """

    def objective(x: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        scores = products(x, batch).sum(-1)
        losses = (jax.nn.softplus(-scores[:, 0]) + jax.nn.softplus(scores[:, 1])) / 2
        return _measured(losses, scores, batch)

    return LayerTask(objective, lambda x, batch: jax.nn.sigmoid(products(x, batch).sum(-1)))


def link_forward_forward(theta: float = 2.0) -> LayerTask:
    """ForwardGNN-FF: the goodness of a pair is `|z_u * z_v|^2`, high for edges, low for others.

    The loss is `forward_forward_loss` with the edge as positive and the made-up edge as negative;
    the vote of a layer is `sigmoid(goodness - theta)`, `[B, 2]`.
    """

    def scored(x: Any, batch: Batch) -> jax.Array:
        pairs = products(x, batch)
        return goodness(pairs.reshape(-1, pairs.shape[-1])).reshape(-1, 2)

    def objective(x: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        scores = scored(x, batch)
        losses = forward_forward_loss(scores[:, 0], scores[:, 1], theta)
        return _measured(losses, scores, batch)

    return LayerTask(objective, lambda x, batch: jax.nn.sigmoid(scored(x, batch) - theta))


def _measured(losses: jax.Array, scores: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
    loss = weighted_mean(losses, batch)
    above = weighted_mean(scores[:, 0] > scores[:, 1], batch)
    return loss, {"loss": loss, "above": above}


def ranking(scores: jax.Array) -> jax.Array:
    """One number per example whose mean is the area under the ROC curve.

    For example i with the scores `p_i` of its edge and `n_i` of its made-up edge: the share of all
    made-up edges below `p_i` and the share of all edges above `n_i`, averaged; ties count half.

    Args:
        scores: `[B, 2]`, all examples at once.

    Example:
        >>> ranking(jnp.array([[0.9, 0.1], [0.3, 0.5]])).tolist()
        [1.0, 0.5]
    """
    count = scores.shape[0]
    edges, made_up = jnp.sort(scores[:, 0]), jnp.sort(scores[:, 1])

    def below(ordered: jax.Array, values: jax.Array) -> jax.Array:
        left, right = (jnp.searchsorted(ordered, values, side=side) for side in ("left", "right"))
        return (left + right) / (2 * count)

    return (below(made_up, scores[:, 0]) + 1 - below(edges, scores[:, 1])) / 2
