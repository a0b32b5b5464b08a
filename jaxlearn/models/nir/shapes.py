"""Shapes along a chain of layers: channels come first in NIR and last here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where a walk through the layers is.

    Attributes:
        shape: of one example.
        image: `[height, width, channels]` of the image that was flattened on the way, if any.
    """

    shape: tuple[int, ...]
    image: tuple[int, ...] | None = None


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as NIR has it."""
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else tuple(shape)


def channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape as layers here have it."""
    sizes = tuple(int(n) for n in shape)
    return (sizes[1], sizes[2], sizes[0]) if len(sizes) == 3 else sizes


def order(image: tuple[int, ...] | None, rows: int) -> np.ndarray:
    """Which row of a dense kernel belongs to each entry of the image with channels first."""
    if image is None:
        return np.arange(rows)
    return np.arange(rows).reshape(image).transpose(2, 0, 1).ravel()
