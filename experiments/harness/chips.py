"""What a chip's maker says of it, and the share of a step that communication takes at best.

The figures are those of Google's pages on each TPU version.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Chip(NamedTuple):
    """Peak rates per second, and what fits.

    Attributes:
        flops: multiplications and additions in bfloat16.
        memory: bytes to and from the chip's main memory.
        links: bytes sent to other chips, all links together, one way.
        capacity: bytes of main memory.
    """

    flops: float
    memory: float
    links: float
    capacity: float


CHIPS = {
    "v5e": Chip(197e12, 819e9, 200e9, 16e9),
    "v5p": Chip(459e12, 2765e9, 600e9, 95e9),
}


def communication(found: Mapping[str, Any]) -> float | None:
    """The share of a step's time that its collectives take, `None` where nothing is known.

    Work takes at least `max(flops / peak, bytes / memory rate)`, an all-reduce of B bytes at least
    `2 B / link rate`, any other collective that leaves B bytes `B / link rate`; nothing is assumed
    to overlap.

    Args:
        found: the JSON of `compile`.

    >>> found = {"topology": "v5e:16x16", "flops": 197e9, "bytes": 0.0}
    >>> communication(found | {"collective_bytes": {"all-reduce": 100e6}})
    0.5
    """
    chip = CHIPS.get(str(found["topology"]).partition(":")[0])
    if chip is None or "collective_bytes" not in found:
        return None
    work = max(found["flops"] / chip.flops, found["bytes"] / chip.memory)
    left = found["collective_bytes"]
    talk = (sum(left.values()) + left["all-reduce"]) / chip.links
    return talk / (talk + work) if talk else 0.0
