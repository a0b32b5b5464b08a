"""What the benchmarks of all operations share: implementations in turn, and rows of figures."""

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

AT_ONCE = 20  # calls of a run on an accelerator


def medians(functions: Mapping[str, Callable], arguments: tuple, runs: int) -> dict[str, float]:
    """Median milliseconds of one call of each function, runs interleaved, after a warm-up.

    A run is one call on CPU; on an accelerator it is ``AT_ONCE`` calls that are waited for
    together, so that what a call costs the host hides behind the device's work.
    """
    calls = 1 if jax.default_backend() == "cpu" else AT_ONCE
    times: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            results: Any = None
            start = time.perf_counter()
            for _ in range(calls if run else 1):
                results = function(*arguments)
            jax.block_until_ready(results)
            if run:
                times[name].append(1e3 * (time.perf_counter() - start) / calls)
    return {name: statistics.median(values) for name, values in times.items()}


def copied(moved: int, runs: int) -> float:
    """Gigabytes per second of copying half as many bytes: as many are read and written."""
    x = jnp.zeros(max(1, moved // 8), jnp.float32)
    # the sign changes, so that the compiler has to copy
    milliseconds = medians({"copy": jax.jit(jnp.negative)}, (x,), runs)["copy"]
    return 8 * x.size / milliseconds / 1e6


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
    deviation from the reference; with ``moved``, the bytes that have to move at least, also these,
    the rate that makes, and its share of the rate of a plain copy of as many bytes.
    """
    arguments = jax.block_until_ready(arguments)
    compiled: dict[str, Any] = {
        label: jax.jit(function).lower(*arguments).compile()
        for label, function in functions.items()
    }
    results = {label: run(*arguments) for label, run in compiled.items()}
    times = medians(compiled, arguments, runs)
    fastest = None if moved is None else copied(moved, runs)
    for label, run in compiled.items():
        row = {"device": jax.devices()[0].device_kind, "implementation": label}
        row |= {"ms": round(times[label], 4)}
        row["over_reference"] = round(times["reference"] / times[label], 2)
        if moved is not None and fastest is not None:
            rate = moved / times[label] / 1e6
            row |= {"megabytes": moved / 1e6, "gigabytes_per_s": rate}
            row["share_of_copy"] = round(rate / fastest, 3)
        row["temporary_megabytes"] = run.memory_analysis().temp_size_in_bytes / 1e6
        row["deviation"] = deviation(results[label], results["reference"])
        yield row


def report(rows: Iterable[dict[str, Any]], tolerance: float) -> int:
    """Print rows as they come; exit status 1 if one deviates by more than the tolerance."""
    worst = 0.0
    for row in rows:
        print(json.dumps(row), flush=True)
        worst = max(worst, row.get("deviation", 0.0))
    return int(worst > tolerance)
