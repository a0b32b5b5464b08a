"""Sizes of a block-sparse layer, shared by tests and benchmarks."""

from typing import NamedTuple


class Shape(NamedTuple):
    """``[rows, inputs]`` times a kernel of ``high x wide`` blocks of ``block``; why it is here."""

    name: str
    rows: int
    high: int
    wide: int
    block: tuple[int, int]


ODD = (
    Shape("one block", 5, 1, 1, (3, 4)),
    Shape("blocks of one entry", 3, 4, 5, (1, 1)),
    Shape("flat and tall blocks", 7, 3, 2, (2, 5)),
    Shape("one row over a block", 257, 2, 3, (16, 32)),
    Shape("whole lanes", 300, 3, 2, (128, 128)),
    Shape("two registers wide", 40, 2, 2, (128, 256)),
)
"""Small sizes at which a kernel that assumes whole tiles goes wrong."""

BENCH = (
    Shape("1024 to 1024, blocks of 128", 2048, 8, 8, (128, 128)),
    Shape("4096 to 4096, blocks of 256", 4096, 16, 16, (256, 256)),
)
"""A layer of a small and of a large network."""
