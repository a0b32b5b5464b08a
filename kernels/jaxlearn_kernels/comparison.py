"""What the benchmarks of all operations share: implementations in turn, and rows of figures."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp


def medians(functions: Mapping[str, Callable], arguments: tuple, runs: int) -> dict[str, float]:
    """Median milliseconds of each function, runs interleaved, after one warm-up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            if run:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def deviation(found: Any, expected: Any) -> float:
    """Length of the difference of two trees over that of the expected one, worst leaf.

    Not the largest element: a value that rounding moves across the corner of the ReLU has another
    gradient, rightly.
    """

    def of_leaf(a: jax.Array, b: jax.Array) -> float:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        return float(jnp.linalg.norm(a - b) / (jnp.linalg.norm(b) + 1e-30))

    return max(map(of_leaf, jax.tree.leaves(found), jax.tree.leaves(expected)))


def compared(
    functions: Mapping[str, Callable], arguments: tuple, runs: int, moved: int | None = None
) -> Iterator[dict[str, Any]]:
    """One row per implementation, one of which is called ``reference``.

    Median milliseconds, the reference's time over it, temporaries of the compiled program and the
    deviation from the reference; with ``moved``, the bytes that have to move at least, also these
    and the rate that makes.
    """
    arguments = jax.block_until_ready(arguments)
    compiled: dict[str, Any] = {
        label: jax.jit(function).lower(*arguments).compile()
        for label, function in functions.items()
    }
    results = {label: run(*arguments) for label, run in compiled.items()}
    times = medians(compiled, arguments, runs)
    for label, run in compiled.items():
        row = {"device": jax.devices()[0].device_kind, "implementation": label}
        row |= {"ms": round(times[label], 4)}
        row["over_reference"] = round(times["reference"] / times[label], 2)
        if moved is not None:
            row |= {"megabytes": moved / 1e6, "gigabytes_per_s": moved / times[label] / 1e6}
        row["temporary_megabytes"] = run.memory_analysis().temp_size_in_bytes / 1e6
        row["deviation"] = deviation(results[label], results["reference"])
        yield row


def report(rows: Iterable[dict[str, Any]], tolerance: float) -> int:
    """Print rows as they come; exit status 1 if one deviates by more than the tolerance."""
    worst = 0.0
    for row in rows:
        print(json.dumps(row), flush=True)
        worst = max(worst, row["deviation"])
    return int(worst > tolerance)
