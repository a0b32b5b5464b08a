"""A made-up graph whose classes show in its edges and its features, for where no file should be
needed.
"""

import numpy as np

from jaxlearn.data.graphs import Graph, adjacency


def planted_graph(
    nodes: int = 120, classes: int = 3, features: int = 30, degree: float = 5.0, *, seed: int = 0
) -> Graph:
    """A planted partition: 4 of 5 edges stay within a class, and so do most words.

    Each node has about `degree` neighbours and words of which 2 in 3 come from the share of the
    vocabulary that belongs to its class; features are rows of 0 and 1 divided by their sums.

    Example:
        >>> graph = planted_graph()
        >>> graph.features.shape, sorted(set(graph.labels.tolist()))
        ((120, 30), [0, 1, 2])
    """
    if min(nodes, features) < classes or classes < 1:
        raise ValueError(f"{nodes} nodes and {features} features cannot hold {classes} classes")
    rng = np.random.Generator(np.random.Philox(seed))
    labels = (np.arange(nodes) % classes).astype(np.int32)
    count = int(nodes * degree / 2)
    sources = rng.integers(0, nodes, count)
    within = rng.integers(0, nodes // classes, count) * classes + labels[sources]
    targets = np.where(rng.random(count) < 0.8, within, rng.integers(0, nodes, count))
    indptr, indices = adjacency(sources, targets, nodes)
    words = max(3, features // (3 * classes))
    own = rng.integers(0, features // classes, (nodes, words)) * classes + labels[:, None]
    drawn = np.where(rng.random(own.shape) < 2 / 3, own, rng.integers(0, features, own.shape))
    matrix = np.zeros((nodes, features), np.float32)
    np.put_along_axis(matrix, drawn, 1, 1)
    matrix /= matrix.sum(1, keepdims=True)
    names = tuple(str(c) for c in range(classes))
    return Graph(matrix, labels, indptr, indices, names, "planted", "made up")
