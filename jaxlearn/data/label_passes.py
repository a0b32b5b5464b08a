"""Which class each node is shown with, pass by pass: what forward-forward learns graphs from.

Park et al., "Forward learning of graph neural networks", ICLR 2024, section 3: a pass is one view
of the labelled graph. The first pass of training shows the true classes, each further one a wrong
class; in judging, pass c claims that every judged node is of class c.
"""

from typing import NamedTuple

import numpy as np

from jaxlearn.data.graphs import Graph, edges


class Passes(NamedTuple):
    """The classes that n nodes are shown with in P passes; the other nodes are shown without.

    Attributes:
        ids: int [n].
        classes: int32 [n, P].
    """

    ids: np.ndarray
    classes: np.ndarray


def wrong_classes(labels: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """The K - 1 wrong classes of every label in an order of its own, int32 [n, K - 1].

    >>> sorted(wrong_classes(np.array([1]), 3, 0)[0].tolist())
    [0, 2]
    """
    labels = np.asarray(labels)
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels span {labels.min()}..{labels.max()}, expected 0..{classes - 1}")
    # raw words of Philox, the only draws that numpy promises to keep
    words = np.random.Philox(np.random.SeedSequence((seed, classes))).random_raw(
        len(labels) * classes
    )
    words = words.reshape(-1, classes)
    words[np.arange(len(labels)), labels] = np.iinfo(np.uint64).max
    return np.argsort(words, axis=1, kind="stable")[:, :-1].astype(np.int32)


def training_passes(
    labels: np.ndarray, train: np.ndarray, classes: int, seed: int, *, negatives: int | None = None
) -> Passes:
    """One positive pass and `min(negatives, K - 1)` negative ones, all of them by default.

    >>> passes = training_passes(np.array([2, 0, 1]), np.array([0, 1]), 3, seed=0)
    >>> passes.classes[:, 0].tolist(), passes.classes.shape
    ([2, 0], (2, 3))
    """
    if negatives is not None and negatives < 1:
        raise ValueError(f"negatives={negatives}; forward-forward needs at least 1")
    own = np.asarray(labels, np.int32)[train]
    wrong = wrong_classes(own, classes, seed)[:, :negatives]
    return Passes(np.asarray(train), np.concatenate([own[:, None], wrong], axis=1))


def judging_passes(
    labels: np.ndarray, labelled: np.ndarray, judged: np.ndarray, classes: int
) -> Passes:
    """Pass c shows labelled nodes with their own class and all judged nodes with class c.

    >>> judging_passes(np.array([1, 0, 0]), np.array([0]), np.array([2]), 2).classes.tolist()
    [[1, 1], [0, 1]]
    """
    if both := len(np.intersect1d(labelled, judged)):
        raise ValueError(f"{both} nodes are both labelled and judged; their answer would be given")
    own = np.repeat(np.asarray(labels, np.int32)[labelled][:, None], classes, axis=1)
    asked = np.tile(np.arange(classes, dtype=np.int32), (len(judged), 1))
    return Passes(np.concatenate([labelled, judged]), np.concatenate([own, asked]))


def appended_labels(passes: Passes, nodes: int, classes: int) -> np.ndarray:
    """What is appended to the features: one-hot of the shown class, 1/K where none is.

    Returns:
        float32 [N, P, K].

    >>> shown = Passes(np.array([1]), np.array([[0, 1]]))
    >>> appended_labels(shown, nodes=2, classes=2).tolist()
    [[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]]
    """
    rows = np.full((nodes, passes.classes.shape[1], classes), 1 / classes, np.float32)
    rows[passes.ids] = np.eye(classes, dtype=np.float32)[passes.classes]
    return rows


def pass_edges(
    graph: Graph, passes: Passes, number: int, *, one_way: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The directed edges of one pass: the graph's own, and from each shown node to its class.

    The virtual node of class c is node N + c. Edges lead in both directions, or with `one_way` from
    the real to the virtual node alone.

    Returns:
        (sources, targets), int.
    """
    shown = len(graph.labels) + passes.classes[:, number]
    sources, targets = edges(graph)
    if one_way:
        return np.concatenate([sources, passes.ids]), np.concatenate([targets, shown])
    return (
        np.concatenate([sources, passes.ids, shown]),
        np.concatenate([targets, shown, passes.ids]),
    )
