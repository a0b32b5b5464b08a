"""Edges of a graph to be predicted, each with a pair of nodes that is none."""

from typing import NamedTuple

import numpy as np

from jaxlearn.data.graphs import Graph, edges
from jaxlearn.data.splits import random_order

Ends = tuple[np.ndarray, np.ndarray]


class LinkSplit(NamedTuple):
    """Edges by part, and the edges that messages may pass along.

    A part is int32 [n, 2, 2]: `[i, 0]` are the ends of edge i, `[i, 1]` those of the made-up edge
    that it is compared with, always the same one.

    Attributes:
        train: the part to train on.
        validation: the part to choose by.
        test: the part to report.
        known: directed (sources, targets), both directions, of the training edges: for training and
            validation.
        known_at_test: the same of training and validation edges.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    known: Ends
    known_at_test: Ends


def link_split(
    graph: Graph, seed: int, *, validation: float = 0.16, test: float = 0.2
) -> LinkSplit:
    """Divide the undirected edges at random and draw one negative for each.

    Negatives are pairs of different nodes without an edge in the whole graph; none comes twice.
    Park et al., "Forward learning of graph neural networks", ICLR 2024, use these shares.

    Raises:
        ValueError: when a part would be empty, or there are not enough pairs without an edge.

    >>> from jaxlearn.data.planted_graph import planted_graph
    >>> split = link_split(planted_graph(), seed=0)
    >>> split.train.shape, split.test.shape
    ((182, 2, 2), (56, 2, 2))
    """
    sources, targets = edges(graph)
    once = sources < targets
    real = np.stack([sources[once], targets[once]], axis=1)
    count = len(real)
    sizes = (int(validation * count), int(test * count))
    if min(sizes) < 1 or sum(sizes) >= count:
        raise ValueError(
            f"validation={validation} and test={test} of {count} edges leave a part empty"
        )
    real = real[random_order(count, seed)]
    pairs = np.stack([real, non_edges(graph, count, seed)], axis=1).astype(np.int32)
    train, held, last = np.split(pairs, [count - sum(sizes), count - sizes[1]])
    seen = np.concatenate([train, held])
    return LinkSplit(train, held, last, _both_ways(train), _both_ways(seen))


def non_edges(graph: Graph, count: int, seed: int) -> np.ndarray:
    """`count` different pairs u < v of nodes without an edge between them, int64 [count, 2]."""
    nodes = len(graph.labels)
    sources, targets = edges(graph)
    taken = np.unique(
        np.minimum(sources, targets).astype(np.int64) * nodes + np.maximum(sources, targets)
    )
    if (free := nodes * (nodes - 1) // 2 - len(taken)) < count:
        raise ValueError(f"{count} pairs without an edge asked for, there are {free}")
    found = np.zeros(0, np.int64)
    stream = np.random.Philox(np.random.SeedSequence((seed, 1)))
    while len(found) < count:
        drawn = (stream.random_raw(4 * count) >> np.uint64(11)) % np.uint64(nodes * nodes)
        u, v = np.divmod(drawn.astype(np.int64), nodes)
        keys = np.concatenate([found, (u * nodes + v)[u < v]])
        keys = keys[~np.isin(keys, taken)]
        # the first occurrence of each, in the order drawn
        found = keys[np.sort(np.unique(keys, return_index=True)[1])]
    return np.stack(np.divmod(found[:count], nodes), axis=1)


def _both_ways(pairs: np.ndarray) -> Ends:
    ends = pairs[:, 0]
    return np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]])
