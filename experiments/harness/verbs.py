"""What each verb over one experiment does: work, print, keep the results, return the status."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.harness import overrides, pod, present, report, runs, store
from experiments.harness import table as tables
from experiments.harness.experiment import Experiment
from jaxlearn.runtime import locked


def run(experiment: Experiment, config: Any, options: argparse.Namespace, results: Path) -> int:
    """Train one config with one seed, or return what it measured before."""
    config = tables.find_row(experiment, config, options.row)
    config = overrides.apply(config, options.pairs)
    _cache_compilation(options.workdir)
    with _only_json_on_stdout(options.json):
        found = runs.finish(
            experiment, config, [options.seed], options.workdir, progress=True, say=_say
        )
    metrics = found[options.seed]
    path = runs.folder(options.workdir, experiment.slug, config)
    if not pod.is_first():
        return 0
    if options.json:
        answer = {"slug": experiment.slug, "preset": options.preset, "seed": options.seed}
        print(store.dump(answer | {"metrics": metrics, "folder": str(path)}), end="")
    else:
        present.print_metrics(f"{experiment.slug}, seed {options.seed}: {path}", metrics)
    return 0


def table(experiment: Experiment, config: Any, options: argparse.Namespace, results: Path) -> int:
    """Make the table, show it beside the paper's, and keep it."""
    count = options.seeds or (1 if options.preset == "smoke" else experiment.seeds)
    seeds = range(options.first_seed, options.first_seed + count)
    _cache_compilation(options.workdir)
    home = options.workdir / experiment.slug
    held = locked(home) if pod.is_first() else contextlib.nullcontext()
    with held, _only_json_on_stdout(options.json):
        made = tables.make(
            experiment, options.preset, seeds, options.workdir, progress=True, say=_say
        )
        made = store.parse(store.dump(made))
        kept = _table_file(experiment, options.preset, seeds, home, results)
        if pod.is_first():
            _keep(experiment, made, kept)
            if results in kept.parents:
                _say(report.write_all(results))
    if not pod.is_first():
        return 1 if tables.failed(made) else 0
    if options.json:
        print(store.dump(made), end="")
    else:
        present.print_table(made)
        _say(f"written: {kept}")
    return 1 if tables.failed(made) else 0


def compile(experiment: Experiment, config: Any, options: argparse.Namespace, results: Path) -> int:
    """Compile the training step of a preset for machines that are not here."""
    from experiments.harness import tpu

    if experiment.program is None:
        raise ValueError(f"{experiment.slug} has no training step to compile")
    with _only_json_on_stdout(True):
        found = tpu.compile_program(experiment.program(config), options.topology, options.model)
    made = {"slug": experiment.slug, "preset": options.preset, **found}
    if options.preset == "paper":
        store.write(results / experiment.slug / _compile_file(made), store.dump(made))
    if options.json:
        print(store.dump(made), end="")
    else:
        present.print_compiled(made)
    return 0


def bench(experiment: Experiment, config: None, options: argparse.Namespace, results: Path) -> int:
    """Time the experiment's steps beside backprop and beside installed peers."""
    from experiments.harness import bench as benches
    from experiments.harness import scaling

    if experiment.bench is None:
        raise ValueError(f"{experiment.slug} has nothing to time")
    with _only_json_on_stdout(True):
        made = benches.measure(experiment.slug, experiment.bench(), say=_say)
        if options.scaling:
            _say("sharing a step between devices")
            made["scaling"] = scaling.measure(experiment.slug, results.parent)
        benches.keep(made, results)
    if options.json:
        print(store.dump(made), end="")
    else:
        present.print_bench(made)
    return 0


def _compile_file(made: dict[str, Any]) -> str:
    """Return the name that a compiled step is kept under; the usual topology has the plain one."""
    where = "" if made["topology"] == "v5e:16x16" else f"-{made['topology'].replace(':', '-')}"
    shared = f"-model-{made['model']}" if "model" in made else ""
    return f"compile{where}{shared}.json"


def _table_file(
    experiment: Experiment, preset: str, seeds: range, home: Path, results: Path
) -> Path:
    """Return where a table is kept: the results folder takes only full tables of real presets."""
    if preset != "smoke" and seeds.start == 0 and len(seeds) >= experiment.seeds:
        return results / experiment.slug / f"{preset}.json"
    return home / "tables" / f"{preset}-seeds-{seeds.start}-{seeds.stop - 1}.json"


def _keep(experiment: Experiment, made: dict[str, Any], file: Path) -> None:
    """Write the table as JSON, as Markdown, and its figure if it has one."""
    picture = None if experiment.figure is None else present.png(experiment.figure(made))
    store.write(file, store.dump(made))
    store.write(file.with_suffix(".md"), present.markdown(made, picture is not None))
    if picture is not None:
        store.write(file.with_suffix(".png"), picture)


@contextlib.contextmanager
def _only_json_on_stdout(wanted: bool) -> Iterator[None]:
    """Send what training prints to stderr, so that stdout carries only the answer.

    Libraries below Python print too, past `sys.stdout`, hence the descriptor.
    """
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _cache_compilation(workdir: Path) -> None:
    """Keep compiled programs under the workdir unless JAX was told of a place already."""
    import jax

    config: Any = jax.config
    if config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(workdir.resolve() / ".compiled"))


def _say(line: str) -> None:
    if pod.is_first():
        print(line, file=sys.stderr, flush=True)
