"""The battery that an experiment passes by being a file in `experiments/`; nothing to register."""

import ast
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from json_shapes import TABLE, check

from experiments.harness import discover, outline, store
from experiments.harness.experiment import legend

KEPT = Path(__file__).parents[2] / "experiments" / "results"
SLUGS = list(discover.files())
every = pytest.mark.parametrize("slug", SLUGS)


@every
def test_file_describes_itself_in_literals(slug):
    """So that `list` and wrong words need not import it."""
    seen = outline.read(discover.find(slug))
    made = discover.load(slug)
    assert (seen.title, seen.paper, seen.slots) == (made.title, made.paper, made.slots)
    assert seen.presets == tuple(made.presets)
    assert seen.fields is not None
    assert list(seen.fields) == [field.name for field in dataclasses.fields(made.Config)]


@every
def test_docstring_gives_the_command_and_the_deviations_are_listed(slug):
    text = ast.get_docstring(ast.parse(discover.find(slug).read_text())) or ""
    assert f"python -m experiments table {slug}" in text
    made = discover.load(slug)
    assert made.deviations or made.notes, "no reproduction is without deviations"


@every
def test_presets_and_rows_are_complete_frozen_configs(slug):
    made = discover.load(slug)
    for name, preset in made.presets.items():
        rows = made.rows(preset)
        names = [row.name for row in rows]
        assert len(set(names)) == len(names), name
        for config in [preset, *(row.config for row in rows)]:
            assert isinstance(config, made.Config), name
            assert type(config).__dataclass_params__.frozen
            assert len(store.fingerprint(config)) == 12
        for row in rows:
            assert all(isinstance(value, (int, float)) for value in row.paper.values())


@every
def test_program_returns_the_state_it_took(slug):
    """Same tree, shapes and dtypes, or every step would compile anew."""
    made = discover.load(slug)
    if made.program is None:
        pytest.skip("has no training step")
    program = made.program(made.presets["smoke"])
    state, _ = jax.eval_shape(program.step, program.state, program.batch)
    assert jax.tree.structure(state) == jax.tree.structure(program.state)
    for new, old in zip(jax.tree.leaves(state), jax.tree.leaves(program.state), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)


@every
def test_every_kept_column_is_described(slug):
    made, names = discover.load(slug), set()
    for file in (KEPT / slug).glob("*.json"):
        table = json.loads(file.read_text())
        if "claims" in table:
            names |= {name for row in table["rows"] for name in row["metrics"]}
    assert {name for name in names if not legend(made.metrics, [name])} == set()


TIMES = {"step_ratio", "time_vs_sltt"}
"""Metrics that a clock decides."""


def measured(workdir):
    """What every row measured by seed, but for times: seed -> folder of the row -> metrics."""
    found = {}
    for file in sorted(workdir.rglob("result.json")):
        metrics = json.loads(file.read_text()).items()
        row = file.parent.parent.name
        kept = {name: value for name, value in metrics if name not in TIMES}
        found.setdefault(file.parent.name, {})[row] = kept
    return found


@pytest.mark.slow
@every
def test_smoke_tables_of_one_seed_are_equal_and_of_another_differ(slug, tmp_path):
    words = [sys.executable, "-m", "experiments", "table", slug, "--preset", "smoke", "--json"]
    words += ["--seeds", "2", "--workdir"]
    results = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        done = subprocess.run([*words, str(folder)], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-2000:]
        made = json.loads(done.stdout)
        check(made, TABLE)
        assert made["seeds"] == [0, 1]
        assert all(row["metrics"] for row in made["rows"])
        names = {name for row in made["rows"] for name in row["metrics"]}
        assert {name for name in names if not legend(made["metrics"], [name])} == set()
        results.append(measured(folder))
    assert results[0] == results[1]
    assert results[0].keys() == {"seed-0", "seed-1"}
    assert results[0]["seed-0"] != results[0]["seed-1"]
