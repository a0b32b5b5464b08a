"""Every step that was timed beside one in another library, as one table."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.harness.rounding import number

HEADER = [
    "experiment",
    "step",
    "on",
    "beside",
    "ratio",
    "quartiles",
    "memory",
    "ours, ms",
    "its, ms",
]


class Beside(NamedTuple):
    """One step of ours and one peer's.

    Attributes:
        fastest: of the peers beside that step; means are taken over these alone.
    """

    slug: str
    step: str
    platform: str
    device: str
    ms: float
    peer: Mapping[str, Any]
    fastest: bool


def compared(benches: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[Beside]:
    """All of them, in the order of the files and of the experiments."""
    return [found for kept in benches for made in kept.values() for found in _of(made)]


def _of(made: Mapping[str, Any]) -> Iterator[Beside]:
    environment = made["environment"]
    platform = environment.get("platform", "cpu").upper()
    device = environment.get("devices", "").removeprefix("1 × ").removeprefix("NVIDIA ")
    device = "CPU" if platform == "CPU" else device
    where = (platform, device)
    for row in made["rows"]:
        for place, peer in enumerate(row.get("peers", [])):
            yield Beside(made["slug"], row["name"], *where, row["step_ms"], peer, place == 0)


def means(found: Sequence[Beside]) -> list[str]:
    """A line for each platform, time and memory: geometric mean, and how many are above 1."""
    ratios: dict[str, list[float]] = {}
    for one in found:
        for name, what in (("ratio", ""), ("memory_ratio", ", memory")):
            if one.fastest and name in one.peer:
                ratios.setdefault(f"{one.platform}{what}", []).append(one.peer[name])
    return [
        f"{what}: geometric mean {statistics.geometric_mean(own):.2f} over {len(own)} steps, "
        f"{sum(ratio > 1 for ratio in own)} above 1, the largest {max(own):.2f}"
        for what, own in ratios.items()
    ]


def grid(found: Sequence[Beside]) -> list[list[str]]:
    """Header and rows; a ratio is the median over turns of our time by the peer's.

    `memory` is our temporaries by the most that a step of the peer allocates.
    """
    return [HEADER, *map(_row, found)]


def _row(one: Beside) -> list[str]:
    low, high = one.peer.get("ratio_quartiles", (None, None))
    return [
        one.slug,
        one.step,
        one.device,
        one.peer["peer"].partition("+")[0],
        f"{one.peer['ratio']:.2f}",
        "" if low is None else f"{low:.2f} to {high:.2f}",
        f"{one.peer['memory_ratio']:.2f}" if "memory_ratio" in one.peer else "",
        number(one.ms),
        number(one.peer["step_ms"]),
    ]
