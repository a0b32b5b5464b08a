"""The contract of an experiment: plain data and functions, no base class.

A file `experiments/<slug_with_underscores>.py` defines `EXPERIMENT = Experiment(...)` at module
level with `slug`, `title` and `slots` written as literals, `presets={"smoke": …}` with literal keys
and the class `Config` in the same file, so that `list` and wrong command lines are answered without
importing JAX. The file ends with

    if __name__ == "__main__":
        main(EXPERIMENT)

This module imports neither JAX nor matplotlib, for the same reason.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from experiments.harness.rounding import number, with_spread

SLOTS = (
    "model",
    "objective",
    "parametrization",
    "rule",
    "transform",
    "procedure",
    "analysis",
    "robustness",
    "data",
)
"""What a method can be a value for."""

Metrics = Mapping[str, float]
"""What one trained seed measured, by name of the metric."""


def _ignore(seed: int, metrics: Metrics) -> None:
    """Record nothing: a `Run` made by hand has no results folder."""


@dataclass(frozen=True)
class Row:
    """One row of the table: a name and the complete config that is trained for it.

    `paper` holds the published numbers of this row by metric, in the units of the metrics returned
    by `Experiment.train`. Two rows with equal configs are trained once.
    """

    name: str
    config: Any
    paper: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A named statement about the measured rows, and whether it holds.

    `text` states the claim with its margin, `measured` gives the figures it was judged by and
    `explanation` says why it may fail (printed only then). A claim is judged at the `presets` it
    names; at others it is listed as not judged and leaves the exit status alone.
    """

    id: str
    text: str
    holds: bool
    measured: str
    explanation: str = ""
    presets: tuple[str, ...] = ("small", "paper")


@dataclass(frozen=True)
class Run:
    """Where and how `Experiment.train` works.

    `workdir` belongs to one config (all its seeds) and survives interruptions: checkpoints go to
    `folder(seeds)`. `record(seed, metrics)` writes a finished seed at once, so that a training loop
    over seeds loses only the seed it was in; returned metrics are recorded in any case.
    """

    workdir: Path
    progress: bool = False
    record: Callable[[int, Metrics], None] = _ignore

    def folder(self, seeds: int | Sequence[int]) -> Path:
        """Return the folder of one seed, or of a group of seeds trained together.

        >>> Run(Path("w")).folder(3).name, Run(Path("w")).folder([0, 1]).name
        ('seed-3', 'seeds-0-1')
        """
        names = [seeds] if isinstance(seeds, int) else list(seeds)
        prefix = "seed" if len(names) == 1 else "seeds"
        return self.workdir / "-".join([prefix, *map(str, names)])


@dataclass(frozen=True)
class Measured:
    """What a table measured: row name → metric → one value per seed, in the order of `seeds`."""

    rows: Mapping[str, Mapping[str, Sequence[float]]]
    preset: str = "small"
    seeds: tuple[int, ...] = (0,)

    def values(self, row: str, metric: str) -> list[float]:
        """Return the values of `metric`, one per seed; ValueError names what there is instead."""
        found = self.rows.get(row)
        if found is None:
            raise ValueError(f"no row {row!r} was measured; there are {sorted(self.rows)}")
        if metric not in found:
            raise ValueError(f"row {row!r} has no metric {metric!r}; it has {sorted(found)}")
        return list(found[metric])

    def mean(self, row: str, metric: str) -> float:
        """Return the mean over seeds.

        >>> Measured({"ours": {"accuracy": [90.0, 92.0]}}).mean("ours", "accuracy")
        91.0
        """
        return statistics.fmean(self.values(row, metric))

    def std(self, row: str, metric: str) -> float:
        """Return the sample standard deviation over seeds (n - 1), 0 for a single seed."""
        return spread(self.values(row, metric))

    def gap(self, row: str, other: str, metric: str) -> float:
        """Return mean(row) - mean(other)."""
        return self.mean(row, metric) - self.mean(other, metric)

    def show(self, row: str, metric: str) -> str:
        """Return `row mean ± std`, without the spread for one seed, for `Claim.measured`.

        >>> Measured({"ours": {"accuracy": [90.0, 92.0]}}).show("ours", "accuracy")
        'ours 91.0 ± 1.4'
        """
        mean, std = self.mean(row, metric), self.std(row, metric)
        one = len(self.values(row, metric)) == 1
        return f"{row} {number(mean) if one else with_spread(mean, std)}"


def spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation: 0 for one value, NaN when one is not finite."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Program:
    """One training step with its arguments: what `compile` and `bench` look at.

    `step` maps (TrainState, Batch) to (TrainState, metrics) and is not jitted. For `compile`,
    `state` and `batch` (of global size) are trees of `jax.ShapeDtypeStruct`, as `jax.eval_shape`
    gives; for `bench` they are trees of arrays. Abstract batches have to be arguments, not closed
    over: `jax.eval_shape(lambda batch: make_state(rule, tx, key, batch), batch)`.
    """

    step: Callable[[Any, Any], tuple[Any, Any]]
    state: Any
    batch: Any


@dataclass(frozen=True)
class Peer:
    """The same work done by another library, timed in turn with ours.

    `start()` is called only where `package` is installed: it checks that its outputs agree with
    ours (ValueError if not) and returns a function without arguments that does one step and comes
    back when the step is finished.
    """

    package: str
    start: Callable[[], Callable[[], object]]


@dataclass(frozen=True)
class Bench:
    """What `bench` times: programs over arrays, the first named "backprop", and peers by row.

    A row "NAME, SETTING" is measured by the row "backprop, SETTING" if there is one, any other row
    by "backprop". `peers` maps the name of a row of `programs` to the peer or peers it is compared
    with.
    """

    programs: Mapping[str, Program]
    peers: Mapping[str, Peer | Sequence[Peer]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if next(iter(self.programs), None) != "backprop":
            raise ValueError(
                f'the first program of a bench is "backprop", the measure of the others; '
                f"found {list(self.programs)}"
            )
        if unknown := sorted(set(self.peers) - set(self.programs)):
            raise ValueError(f"peers of unknown rows {unknown}; rows are {list(self.programs)}")

    def measure_of(self, row: str) -> str:
        """Return the row of backpropagation that measures a row."""
        name, comma, setting = row.partition(", ")
        own = f"backprop, {setting}"
        return own if comma and name != "backprop" and own in self.programs else "backprop"

    def beside(self, row: str) -> list[Peer]:
        """Return the peers of a row."""
        found = self.peers.get(row, ())
        return [found] if isinstance(found, Peer) else list(found)


@dataclass(frozen=True)
class Experiment:
    """A paper as a composition of slots, with its table and claims.

    Attributes:
      slug: name of the paper here; the file is named after it, with underscores.
      title: title of the paper.
      paper: its citation (authors, venue, year, identifier).
      slots: which of `SLOTS` the method fills.
      Config: frozen dataclass of everything that decides a run; its `__post_init__` refuses values
        out of range with a ValueError that names the field.
      presets: "smoke" (≤ 20 s), "small" (≤ 5 min on 2 cores, real data), "paper" (the protocol).
      rows: preset config → rows of the table.
      train: (config, seeds, run) → {seed: metrics}: trains the given seeds of one row; it may
        `vmap` over them. See `each_seed` for one seed at a time.
      claims: measured rows → claims.
      metrics: what each metric of `train` is, with its unit, by its name or by a pattern for
        several: `{"accuracy": "test images, %", "temp_mb_*": "temporaries at so many steps, MB"}`.
      program: config → the abstract training step for `compile`; None when there is none.
      bench: () → what to time; None when there is nothing to compare.
      figure: table JSON (as `table --json` prints it) → matplotlib Figure.
      deviations: numbered differences from the paper, each with its reason.
      notes: anything else a reader of the table must know.
      seeds: how many seeds a table takes by default (one for "smoke").
    """

    slug: str
    title: str
    paper: str
    slots: tuple[str, ...]
    Config: type
    presets: Mapping[str, Any]
    rows: Callable[[Any], Sequence[Row]]
    train: Callable[[Any, Sequence[int], Run], Mapping[int, Metrics]]
    claims: Callable[[Measured], Sequence[Claim]]
    program: Callable[[Any], Program] | None = None
    bench: Callable[[], Bench] | None = None
    figure: Callable[[Mapping[str, Any]], Any] | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seeds: int = 3

    def __post_init__(self) -> None:
        if missing := {"smoke", "small", "paper"} - set(self.presets):
            raise ValueError(f"experiment {self.slug!r} lacks the presets {sorted(missing)}")
        if unknown := sorted(set(self.slots) - set(SLOTS)):
            raise ValueError(f"experiment {self.slug!r}: {unknown} are not among the slots {SLOTS}")


def legend(metrics: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return those of `metrics` that describe any of the names, in the order of the names.

    >>> legend({"mb_*": "temporaries, MB", "loss": "test loss"}, ["mb_4", "mb_8", "other"])
    {'mb_*': 'temporaries, MB'}
    """
    keys = [key for name in names for key in metrics if fnmatchcase(name, key)]
    return {key: metrics[key] for key in keys}


def each_seed(
    train_one: Callable[[Any, int, Run], Metrics],
) -> Callable[[Any, Sequence[int], Run], dict[int, Metrics]]:
    """Turn `train_one(config, seed, run) -> metrics` into `Experiment.train`, recording each seed.

    >>> each_seed(lambda config, seed, run: {"loss": seed / 2})(None, [0, 1], Run(Path("w")))
    {0: {'loss': 0.0}, 1: {'loss': 0.5}}
    """

    def train(config: Any, seeds: Sequence[int], run: Run) -> dict[int, Metrics]:
        results: dict[int, Metrics] = {}
        for seed in seeds:
            results[seed] = train_one(config, seed, run)
            run.record(seed, results[seed])
        return results

    return train
