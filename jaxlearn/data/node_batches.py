"""Nodes of one graph as a batch."""

from typing import Any

import numpy as np


def node_batch(
    ids: np.ndarray, labels: np.ndarray, context: dict[str, Any], *, multiple: int = 1
) -> dict[str, Any]:
    """A batch whose examples are nodes and whose context is the graph.

    With a `multiple` that does not divide the number of nodes, node 0 is repeated with weight 0 at
    the end; the other weights make up for it, so that `mean(weight * loss)` stays the mean over the
    given nodes.

    Args:
        ids: int `[B]`.
        labels: of all nodes of the graph.
        context: what the rule expects of the graph.
        multiple: of what the batch has to be a multiple (the devices).

    Example:
        >>> batch = node_batch(np.array([2, 1]), np.array([0, 1, 1]), {}, multiple=4)
        >>> batch["inputs"].tolist(), batch["weight"].tolist()
        ([2, 1, 0, 0], [2.0, 2.0, 0.0, 0.0])
    """
    if len(ids) < 1 or multiple < 1:
        raise ValueError(f"{len(ids)} nodes and multiple={multiple}; both have to be at least 1")
    size = -(-len(ids) // multiple) * multiple
    nodes = np.pad(np.asarray(ids, np.int32), (0, size - len(ids)))
    batch: dict[str, Any] = {
        "inputs": nodes,
        "labels": np.asarray(labels, np.int32)[nodes],
        "index": nodes,
    }
    if size > len(ids):
        weight = np.where(np.arange(size) < len(ids), size / len(ids), 0)
        batch["weight"] = weight.astype(np.float32)
    return batch | {"context": context}
