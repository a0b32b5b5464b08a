"""Input shapes of the WKV recurrence, shared by tests and benchmarks."""

from typing import NamedTuple


class Shape(NamedTuple):
    """Keys ``[time, *batch, channels]`` and why they are here."""

    name: str
    time: int
    batch: tuple[int, ...]
    channels: int

    @property
    def features(self) -> tuple[int, ...]:
        """``(*batch, channels)``."""
        return (*self.batch, self.channels)

    @property
    def full(self) -> tuple[int, ...]:
        """``(time, *batch, channels)``."""
        return (self.time, *self.features)


ODD = (
    Shape("no batch axis", 5, (), 3),
    Shape("one of everything", 1, (1,), 1),
    Shape("one over a register row", 6, (), 129),
    Shape("ragged rows and lanes", 3, (9,), 129),
    Shape("two batch axes", 4, (2, 5), 7),
    Shape("two lane tiles and a bit", 2, (3,), 1025),
    Shape("one token over a group", 9, (2,), 130),
)
"""Small shapes at which a kernel that assumes whole tiles goes wrong."""

LONG = (
    Shape("time chunks that do not divide", 501, (16,), 512),
    Shape("one sequence of many channels", 130, (), 65536),
)
"""Shapes whose sequence does not fit on chip at once: for compilation."""

BENCH = (
    Shape("characters, batch 16", 128, (16,), 128),
    Shape("language model 12 x 512", 1024, (12,), 512),
    Shape("language model 12 x 768", 1024, (12,), 768),
)
"""The widths of SpikeGPT: a small one, 46M and 216M."""
