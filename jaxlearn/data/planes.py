"""Small problems in the plane and on the line, drawn by seed; no files."""

import numpy as np


def rings(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A disc of radius 1/2 (label 0) inside a ring from radius 1 to 3/2 (label 1), half the points
    each, uniform over their areas.

    No line gets more than 70 % of them right, a circle all.

    >>> rings(4)["inputs"].shape, sorted(rings(4)["labels"].tolist())
    ((4, 2), [0, 0, 1, 1])
    """
    rng = _checked(n, seed)
    labels = np.arange(n) % 2
    share = rng.uniform(size=n)
    radius = np.sqrt(np.where(labels == 0, 0.25 * share, 1 + 1.25 * share))
    return _points(_polar(radius, rng.uniform(0, 2 * np.pi, n)), labels.astype(np.int32))


def spirals(
    n: int, seed: int = 0, *, turns: float = 1.5, noise: float = 0.03
) -> dict[str, np.ndarray]:
    """Two spirals wound into each other, `turns` turns from the middle to radius 1.

    >>> bool((abs(spirals(100, noise=0.0)["inputs"]) <= 1).all())
    True
    """
    rng = _checked(n, seed)
    labels = np.arange(n) % 2
    t = np.sqrt(rng.uniform(0.01, 1, n))
    places = _polar(t, 2 * np.pi * turns * t + np.pi * labels) + noise * rng.normal(size=(n, 2))
    return _points(places, labels.astype(np.int32))


def wave(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """`y = sin(3 pi x) exp(-x^2)` without noise, x uniform in [-1, 1]; labels are the y.

    >>> wave(3)["inputs"].shape, wave(3)["labels"].dtype
    ((3, 1), dtype('float32'))
    """
    x = _checked(n, seed).uniform(-1, 1, (n, 1))
    return _points(x, (np.sin(3 * np.pi * x) * np.exp(-x * x))[:, 0].astype(np.float32))


def _checked(n: int, seed: int) -> np.random.Generator:
    if n < 2:
        raise ValueError(f"n={n} points; at least 2 are needed")
    return np.random.default_rng(seed)


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)


def _points(places: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    index = np.arange(len(labels), dtype=np.int32)
    return {"inputs": places.astype(np.float32), "labels": labels, "index": index}
