"""Retrieval by inner products: cumulative matches and mean average precision, in query blocks."""

from collections.abc import Sequence

import numpy as np


def retrieval(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    *,
    itself: bool = True,
    top: Sequence[int] = (1, 5),
    block: int = 256,
) -> dict[str, float]:
    """Rank the gallery for every query by `<x, y>` and score the ranks of the same label.

    The longer vectors are cut to the length of the shorter ones: an upgraded query meets an old
    gallery with its first dimensions. Nothing is normalised.

    `cmc_k` is the share of queries with a match among the first k. `map` is the mean over queries
    of the average precision, `AP = mean over matches m of (matches up to m) / rank(m)`. Queries
    without any match in the gallery are left out. Equal products keep the gallery's order.

    Args:
        queries: `[n, d]`.
        gallery: `[m, d']`.
        query_labels: int `[n]`.
        gallery_labels: int `[m]`.
        itself: query i and gallery item i are one picture, which does not count.
        top: the k of `cmc_k`.
        block: queries at a time: `block x m` numbers are held.

    Raises:
        ValueError: when labels do not fit, or `itself` is asked of sets of different sizes.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> y = np.array([0, 0, 1, 1])
        >>> retrieval(x, x, y, y)
        {'cmc_1': 1.0, 'cmc_5': 1.0, 'map': 1.0}
    """
    queries, gallery = np.asarray(queries, np.float32), np.asarray(gallery, np.float32)
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    if len(queries) != len(query_labels) or len(gallery) != len(gallery_labels):
        raise ValueError(
            f"a label each: found {len(queries)} queries with {len(query_labels)} labels and "
            f"{len(gallery)} gallery items with {len(gallery_labels)}"
        )
    if itself and len(queries) != len(gallery):
        raise ValueError(
            f"itself=True needs one set as both: found {len(queries)} queries and {len(gallery)} "
            "gallery items"
        )
    shared = min(queries.shape[1], gallery.shape[1])
    items = gallery[:, :shared].T
    found = []
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        products = queries[rows, :shared] @ items
        same = query_labels[rows, None] == gallery_labels
        if itself:
            places = np.arange(start, start + len(products))
            products[np.arange(len(products)), places] = -np.inf
            same[np.arange(len(products)), places] = False
        found.append(_scores(products, same, top))
    scores = np.concatenate(found)
    if not len(scores):
        raise ValueError("no query has a match in the gallery; check the labels")
    names = [*(f"cmc_{k}" for k in top), "map"]
    return dict(zip(names, scores.mean(0).tolist(), strict=True))


def _scores(products: np.ndarray, same: np.ndarray, top: Sequence[int]) -> np.ndarray:
    """`[queries with a match, len(top) + 1]`: hits within each k, and the average precision."""
    order = np.argsort(-products, 1, kind="stable")
    hits = np.take_along_axis(same, order, 1)
    hits = hits[hits.any(1)]
    ranks = np.arange(1, hits.shape[1] + 1)
    precision = np.cumsum(hits, 1) / ranks
    average = (precision * hits).sum(1) / hits.sum(1)
    return np.stack([*(hits[:, :k].any(1) for k in top), average], 1)
