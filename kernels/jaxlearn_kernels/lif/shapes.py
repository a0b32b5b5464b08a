"""Input shapes of the LIF operation, shared by tests and benchmarks."""

from typing import NamedTuple


class Shape(NamedTuple):
    """One input ``[time, *features]`` and why it is here."""

    name: str
    time: int
    features: tuple[int, ...]

    @property
    def full(self) -> tuple[int, ...]:
        """``(time, *features)``."""
        return (self.time, *self.features)


ODD = (
    Shape("no feature axis", 3, ()),
    Shape("one neuron", 4, (1,)),
    Shape("one step", 1, (127,)),
    Shape("one over a register row", 5, (129,)),
    Shape("ragged rows and lanes", 3, (9, 129)),
    Shape("small last axis", 3, (2, 5, 5, 3)),
    Shape("two lane tiles and a bit", 2, (3, 1025)),
    Shape("prime width", 4, (2, 257)),
)
"""Small shapes at which a kernel that assumes whole tiles goes wrong."""

LONG = (
    Shape("time chunks that do not divide", 501, (16, 512)),
    Shape("vector of neurons", 130, (65536,)),
)
"""Shapes whose sequence does not fit on chip at once: for compilation."""

BENCH = (
    Shape("linear 512, batch 16", 500, (16, 512)),
    Shape("65,536 neurons, 16 steps", 16, (65536,)),
    Shape("delay net, batch 128", 100, (128, 256)),
    Shape("language model 12 x 512", 1024, (12, 512)),
    Shape("first stage of ResNet-18, batch 64", 6, (64, 32, 32, 64)),
)
"""The Open Neuromorphic workload, spikingjelly's, SNN-delays', SpikeGPT's and SLTT's."""
