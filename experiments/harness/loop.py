"""What the training loop costs: the same step inside `jaxlearn.runtime.fit` and on its own."""

import time
from collections.abc import Mapping
from typing import Any

from experiments.harness import timing
from experiments.harness.experiment import Program

TURNS = 15
CHUNK = 10
SAMPLE = 0.5
"""Seconds a run of the loop lasts at least."""
LONGEST = 0.25
"""Seconds; what the loop adds to a longer step is lost in it."""


def worth(program: Program, seconds: list[float]) -> bool:
    """Return whether `fit` takes the program's state, and its steps are short enough to tell."""
    takes = hasattr(program.state, "step") and hasattr(program.state, "params")
    return takes and min(seconds) <= LONGEST


def row(program: Program, bare: timing.Runner, costs: Mapping[str, Any]) -> dict[str, Any]:
    """Time the loop and the bare step in turn and return the bench row "backprop in fit"."""
    steps = max(3 * CHUNK, timing.repeats(bare, SAMPLE))
    inside, alone = [], []
    for _ in range(TURNS):
        inside.append(seconds_per_step(program, steps))
        alone.append(timing.clock(bare, steps))
    return {
        "name": "backprop in fit",
        **timing.spread(inside),
        **costs,
        "ratio_to_backprop": timing.ratio(inside, alone),
    }


def seconds_per_step(program: Program, steps: int) -> float:
    """Run `fit` and return seconds per step between its first chunk and its last."""
    import jax
    import numpy as np

    from jaxlearn.runtime import fit

    batch = jax.tree.map(np.asarray, program.batch)
    first = int(program.state.step)
    seen: list[tuple[int, float]] = []
    fit(
        program.step,
        program.state,
        lambda step: batch,
        steps=first + CHUNK + steps,
        chunk=CHUNK,
        callbacks=[lambda step, state, metrics: seen.append((step, time.perf_counter()))],
        progress=False,
        on_nan="ignore",
    )
    (start, begin), (stop, end) = seen[0], seen[-1]
    return (end - begin) / (stop - start)
