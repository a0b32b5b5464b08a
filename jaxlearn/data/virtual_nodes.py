"""One extra node per class, connected to the training nodes of that class."""

import jax
import numpy as np

from jaxlearn.data.graphs import Graph, adjacency, edges


def augment_with_virtual_nodes(graph: Graph, train: np.ndarray, key: jax.Array) -> Graph:
    """The graph with K virtual nodes behind the N real ones, node `N + c` for class c.

    A virtual node has fixed N(0, 1) features and an edge, in both directions, to every training
    node of its class; no other node touches it. Park et al., "Forward learning of graph neural
    networks", ICLR 2024, section 3.

    Args:
        graph: N nodes with labels of K classes (`graph.classes`).
        train: ids of the training nodes, the only labels that are looked at.
        key: for the features of the virtual nodes.

    Raises:
        ValueError: when an id is not a node or comes twice.
    """
    nodes, classes = len(graph.labels), len(graph.classes)
    train = np.asarray(train)
    if len(train) and not (train.min() >= 0 and train.max() < nodes):
        raise ValueError(f"training ids span {train.min()}..{train.max()}, expected 0..{nodes - 1}")
    if len(np.unique(train)) != len(train):
        raise ValueError("a training id comes twice; every node is connected once")
    sources, targets = edges(graph)
    sources = np.concatenate([sources, train])
    targets = np.concatenate([targets, nodes + graph.labels[train]])
    indptr, indices = adjacency(sources, targets, nodes + classes)
    drawn = np.asarray(jax.random.normal(key, (classes, graph.features.shape[1])))
    return graph._replace(
        features=np.concatenate([graph.features, drawn]),
        labels=np.concatenate([graph.labels, np.arange(classes, dtype=graph.labels.dtype)]),
        indptr=indptr,
        indices=indices,
    )
