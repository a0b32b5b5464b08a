"""The clock of the benches: samples, and what is said about them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

WARM_UP = 3
"""Steps before the first turn that is timed."""

SAMPLE = 0.01
"""Seconds a sample lasts at least: short steps are repeated, so that dispatch overlaps as it does
in a training loop."""

SETTLED = 0.2
"""Seconds; what ran before is lost in a sample that is longer."""

Runner = Callable[[], object]


def clock(runner: Runner, repeats: int = 1) -> float:
    """Return seconds per call over `repeats` calls, waiting for the device at the end."""
    import jax

    result: object = None
    start = time.perf_counter()
    for _ in range(repeats):
        result = runner()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


def repeats(runner: Runner, sample: float = SAMPLE) -> int:
    """Warm a runner up and return how many of its steps fill a sample."""
    fastest = min(clock(runner) for _ in range(WARM_UP))
    return max(1, round(sample / max(fastest, 1e-7)))


def sampler(runner: Runner) -> Callable[[], float]:
    """Warm a runner up and return what measures its seconds per call, a short one settled first."""
    count = repeats(runner)

    def sample() -> float:
        found = clock(runner, count)
        return clock(runner, count) if found * count < SETTLED else found

    return sample


def spread(seconds: list[float]) -> dict[str, Any]:
    """Return median and quartiles in milliseconds.

    >>> spread([0.001, 0.002, 0.003])
    {'step_ms': 2.0, 'quartiles_ms': [1.5, 2.5]}
    """
    low, middle, high = _quartiles(seconds)
    return {"step_ms": 1e3 * middle, "quartiles_ms": [1e3 * low, 1e3 * high]}


def _quartiles(values: list[float]) -> list[float]:
    # one turn has no spread; twice the same figure says so
    pair = values if len(values) > 1 else values * 2
    return statistics.quantiles(pair, n=4, method="inclusive")


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Return the median over turns of ours / theirs.

    >>> ratio([1.0, 4.0, 3.0], [1.0, 2.0, 1.0])
    2.0
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def ratios(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    """Return the same with its quartiles.

    >>> ratios([1.0, 4.0, 3.0], [1.0, 2.0, 1.0])
    {'ratio': 2.0, 'ratio_quartiles': [1.5, 2.5]}
    """
    low, middle, high = _quartiles([a / b for a, b in zip(ours, theirs, strict=True)])
    return {"ratio": middle, "ratio_quartiles": [low, high]}
