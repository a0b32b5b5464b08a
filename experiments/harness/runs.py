"""Runs on disk: which (config, seed) are done, and training those that are not."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import data_files, pod, store
from experiments.harness.experiment import Experiment, Metrics, Run
from jaxlearn.runtime import Diverged, locked


def folder(workdir: Path, slug: str, config: Any) -> Path:
    """Return the folder of a config: `<workdir>/<slug>/<hash of the full config>`."""
    return workdir / slug / store.fingerprint(config)


def result(path: Path, seed: int) -> dict[str, float] | None:
    """Return the metrics of a finished seed of the run folder `path`, None if it is not done."""
    file = path / f"seed-{seed}" / "result.json"
    if not file.exists():
        return None
    found = store.read(file)
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no metrics; delete it to have it made anew")
    return {name: math.nan if value is None else float(value) for name, value in found.items()}


def finish(
    experiment: Experiment,
    config: Any,
    seeds: Sequence[int],
    workdir: Path,
    *,
    progress: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[int, dict[str, float]]:
    """Train the seeds that are not done, all in one call, and return the metrics of every seed.

    Raises ValueError when another process works on one of the seeds, a data file is not the one
    that the experiment's runs in this workdir were trained on, or `train` leaves a seed out.
    """
    path = folder(workdir, experiment.slug, config)
    missing = pod.agreed([seed for seed in seeds if result(path, seed) is None])
    if missing and pod.is_first():
        with _held(path, missing), data_files.unchanged(path.parent):
            store.write(path / "config.json", store.dump(config))
            say(f"training seeds {missing} in {path}")
            run = Run(path, progress, lambda seed, metrics: _record(path, seed, metrics))
            for seed, metrics in _train(experiment, config, missing, run).items():
                run.record(seed, metrics)
    elif missing:
        _train(experiment, config, missing, Run(path))
    found = [result(path, seed) for seed in seeds]
    return dict(zip(seeds, pod.agreed(found), strict=True))


@contextlib.contextmanager
def _held(path: Path, seeds: Sequence[int]) -> Iterator[None]:
    """Lock each seed: other seeds of the same config may be trained beside these.

    The locks lie outside the seeds' own folders, which the training loop locks itself.
    """
    with contextlib.ExitStack() as stack:
        for seed in seeds:
            stack.enter_context(locked(path / "locks" / f"seed-{seed}"))
        yield


def _record(path: Path, seed: int, metrics: Metrics) -> None:
    numbers = {name: float(value) for name, value in metrics.items()}
    store.write(path / f"seed-{seed}" / "result.json", store.dump(numbers))


def _train(
    experiment: Experiment, config: Any, seeds: Sequence[int], run: Run
) -> dict[int, dict[str, float]]:
    """Train and return the metrics of every seed asked for, as floats."""
    try:
        results = experiment.train(config, seeds, run)
    except Diverged as error:
        # bad input is a ValueError too; a run that diverged was good input
        raise FloatingPointError(str(error)) from error
    if lost := sorted(set(seeds) - set(results)):
        raise ValueError(f"train returned no metrics for the seeds {lost}")
    return {seed: {name: float(v) for name, v in results[seed].items()} for seed in seeds}
