"""Features of text that stand in for an old model of another modality."""

from collections.abc import Sequence

import numpy as np


def caption_features(names: Sequence[str]) -> np.ndarray:
    """`[classes, classes]`: unit features of "a photo of NAME", bags of letter trigrams.

    They are given in an orthonormal basis of their own span, so that inner products are those of
    the bags and there are no more dimensions than classes.

    >>> found = caption_features(["boot", "bag"])
    >>> found.shape, bool(np.allclose(np.linalg.norm(found, axis=1), 1))
    ((2, 2), True)
    """
    bags = [_trigrams(f" a photo of {name.lower()} ") for name in names]
    known = sorted(set().union(*bags))
    counts = np.array([[bag.count(part) for part in known] for bag in bags], float)
    rows = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    return (u * s)[:, : len(names)].astype(np.float32)


def _trigrams(text: str) -> list[str]:
    return [text[i : i + 3] for i in range(len(text) - 2)]
