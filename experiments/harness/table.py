"""A table: every row at every seed, beside the paper's numbers, with the claims judged."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from experiments.harness import environment, runs
from experiments.harness.discover import unknown
from experiments.harness.experiment import Experiment, Measured, Row, legend, spread


def find_row(experiment: Experiment, config: Any, name: str | None) -> Any:
    """Return the config of the named row, or `config` itself for no name."""
    if name is None:
        return config
    rows = {row.name: row.config for row in experiment.rows(config)}
    if name not in rows:
        raise ValueError(unknown("row", name, rows))
    return rows[name]


def make(
    experiment: Experiment,
    preset: str,
    seeds: Sequence[int],
    workdir: Path,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train what is missing and return the table as JSON data (see `experiments.harness`)."""
    rows = experiment.rows(experiment.presets[preset])
    _unique(rows)
    measured: dict[str, dict[str, list[float]]] = {}
    for number, row in enumerate(rows, start=1):
        say(f"row {number} of {len(rows)}: {row.name}")
        found = runs.finish(experiment, row.config, seeds, workdir, progress=progress, say=say)
        measured[row.name] = _columns(row.name, [found[seed] for seed in seeds])
    claims = experiment.claims(Measured(measured, preset, tuple(seeds)))
    judged = [claim for claim in claims if preset in claim.presets]
    others = [claim for claim in claims if preset not in claim.presets]
    return {
        "slug": experiment.slug,
        "preset": preset,
        "seeds": list(seeds),
        "rows": [_entry(row, measured[row.name]) for row in rows],
        "claims": [
            {
                "id": claim.id,
                "text": claim.text,
                "holds": bool(claim.holds),
                "measured": claim.measured,
                "explanation": claim.explanation,
            }
            for claim in judged
        ],
        "unjudged": [{"id": claim.id, "text": claim.text} for claim in others],
        "title": experiment.title,
        "citation": experiment.paper,
        "metrics": legend(experiment.metrics, dict.fromkeys(chain(*measured.values()))),
        "deviations": list(experiment.deviations),
        "notes": list(experiment.notes),
        "environment": environment.describe(),
    }


def failed(table: Mapping[str, Any]) -> bool:
    """Return whether a judged claim of the table does not hold."""
    return not all(claim["holds"] for claim in table["claims"])


def _unique(rows: Sequence[Row]) -> None:
    names = [row.name for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"row names must differ; given twice: {twice}")


def _columns(name: str, results: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Turn one mapping per seed into one list per metric."""
    for result in results[1:]:
        if set(result) != set(results[0]):
            raise ValueError(
                f"the seeds of row {name!r} measured different things: "
                f"{sorted(results[0])} and {sorted(result)}"
            )
    return {metric: [result[metric] for result in results] for metric in results[0]}


def _entry(row: Row, columns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {
        "name": row.name,
        "metrics": {metric: summary(values) for metric, values in columns.items()},
        "paper": dict(row.paper),
    }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation, count and the value of each seed.

    >>> summary([1.0, 3.0])
    {'mean': 2.0, 'std': 1.4142135623730951, 'n': 2, 'values': [1.0, 3.0]}
    """
    mean = sum(values) / len(values)
    return {"mean": mean, "std": spread(values), "n": len(values), "values": list(values)}
