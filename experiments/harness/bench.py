"""Time training steps in turn, beside backprop and beside peers.

Programs take turns, so that a machine which slows down slows all of them; a ratio is the median
over the turns of the ratio within a turn, which drift cannot move. What ran before leaves its mark
on a short step (caches, and threads that wait actively for more work): the order is drawn anew for
every turn, and a short step runs once without the clock before it is timed.
"""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from experiments.harness import allocations, environment, flops, loop, store, timing
from experiments.harness.experiment import Bench, Program

Name = TypeVar("Name", bound=Hashable)

TURNS = 20
"""Turns per bench, fewer (never under five) when the bench would take over a minute."""


def measure(
    slug: str, bench: Bench, *, turns: int = TURNS, say: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Time a bench and return the JSON of `bench` (see `experiments.harness`)."""
    from importlib.util import find_spec

    runners: dict[str, timing.Runner] = {}
    costs: dict[str, dict[str, Any]] = {}
    for name, program in bench.programs.items():
        say(f"compiling {name}")
        runners[name], costs[name] = compiled(program)
    installed = lambda row: [peer for peer in bench.beside(row) if find_spec(peer.package)]
    peers = {row: installed(row) for row in bench.programs}
    for row, many in peers.items():
        for peer in many:
            say(f"starting {peer.package} beside {row}")
            runners[f"{row} in {peer.package}"] = peer.start()
    times = take_turns(runners, turns)
    rows: list[dict[str, Any]] = []
    for name in bench.programs:
        row = {
            "name": name,
            **timing.spread(times[name]),
            **costs[name],
            "ratio_to_backprop": timing.ratio(times[name], times[bench.measure_of(name)]),
        }
        peaks = {
            peer.package: allocations.peak_bytes(runners[f"{name} in {peer.package}"])
            for peer in peers[name]
        }
        rows.append(row | _beside(name, peaks, costs[name]["temp_bytes"], times))
    if loop.worth(bench.programs["backprop"], times["backprop"]):
        say("timing the training loop")
        rows.append(loop.row(bench.programs["backprop"], runners["backprop"], costs["backprop"]))
    return {"slug": slug, "rows": rows, "environment": environment.describe()}


def _beside(
    row: str,
    peaks: Mapping[str, int | None],
    temporaries: int,
    times: Mapping[str, list[float]],
) -> dict[str, Any]:
    """The peers of a row, the fastest first, which is also the one named alone."""
    found: list[dict[str, Any]] = [
        {
            "peer": f"{package} {_version(package)}".strip(),
            "step_ms": timing.spread(times[f"{row} in {package}"])["step_ms"],
            **timing.ratios(times[row], times[f"{row} in {package}"]),
            **memory(temporaries, peak),
        }
        for package, peak in peaks.items()
    ]
    found.sort(key=lambda peer: -peer["ratio"])
    if not found:
        return {}
    return {"peer": found[0]["peer"], "ratio_to_peer": found[0]["ratio"], "peers": found}


def memory(temporaries: int, peak: int | None) -> dict[str, Any]:
    """A peer's peak beside our temporaries; nothing where it is not known."""
    return {"peak_bytes": peak, "memory_ratio": temporaries / peak} if peak else {}


def compiled(program: Program) -> tuple[timing.Runner, dict[str, Any]]:
    """Compile a program over arrays; return a function that does a step, and its compiled cost.

    The state is donated and carried on as in the training loop; the program's own arrays stay.
    """
    import jax

    from jaxlearn.runtime import distribute

    state, batch = distribute(program.state, None), jax.device_put(program.batch)
    step = jax.jit(program.step, donate_argnums=0).lower(state, batch).compile()
    memory: Any = step.memory_analysis()
    carried = [state]

    def runner() -> object:
        carried[0], metrics = step(carried[0], batch)
        return metrics

    costs = {
        "temp_bytes": int(memory.temp_size_in_bytes),
        "flops": flops.count(program.step, program.state, program.batch),
    }
    return runner, costs


def take_turns(runners: Mapping[str, timing.Runner], turns: int = TURNS) -> dict[str, list[float]]:
    """Return seconds per step of every runner, one figure per turn."""
    return in_turns({name: timing.sampler(runner) for name, runner in runners.items()}, turns)


def in_turns(
    samples: Mapping[Name, Callable[[], float]], turns: int = TURNS
) -> dict[Name, list[float]]:
    """Return what the samples give, one figure per turn; the order is always drawn."""
    times: dict[Name, list[float]] = {name: [] for name in samples}
    start, orders = time.perf_counter(), random.Random(0)
    for turn in range(turns):
        if turn >= 5 and time.perf_counter() - start > 60:
            break
        for name in orders.sample(list(samples), len(samples)):
            times[name].append(samples[name]())
    return times


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def keep(made: Mapping[str, Any], results: Path) -> None:
    """Merge one experiment's bench into the file of all of them on its platform, keyed by slug."""
    platform = made["environment"]["platform"]
    file = results / ("bench.json" if platform == "cpu" else f"bench-{platform}.json")
    known = store.read(file) if file.exists() else {}
    merged = dict(sorted((known | {made["slug"]: made}).items()))
    store.write(file, store.dump(merged))
