"""Sizes of a layer of quadratic neurons, shared by tests and benchmarks."""

from typing import NamedTuple


class Shape(NamedTuple):
    """A layer for ``[rows, inputs]`` with so many outputs, and why it is here."""

    name: str
    rows: int
    inputs: int
    outputs: int


ODD = (
    Shape("one of everything", 1, 1, 1),
    Shape("fewer rows than sublanes", 3, 5, 7),
    Shape("exactly one block", 1024, 128, 128),
    Shape("one over a block and a register", 1025, 129, 130),
    Shape("rows that do not divide", 300, 3, 10),
    Shape("several blocks of outputs", 40, 300, 1400),
)
"""Small sizes at which a kernel that assumes whole blocks goes wrong."""

BENCH = (
    Shape("64 to 64", 65536, 64, 64),
    Shape("128 to 128", 65536, 128, 128),
    Shape("128 to 512", 65536, 128, 512),
    Shape("512 to 512", 16384, 512, 512),
)
"""Products whose arrays by example outweigh the kernels, from narrow to wide."""
