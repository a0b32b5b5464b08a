"""The battery that an experiment passes by being a file in `experiments/`; nothing to register."""

import ast
import dataclasses
import json
import subprocess
import sys

import jax
import pytest
from json_shapes import TABLE, check

from experiments.harness import discover, outline, store

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


@pytest.mark.slow
@every
def test_smoke_table_runs_twice_alike(slug, tmp_path):
    words = [sys.executable, "-m", "experiments", "table", slug, "--preset", "smoke", "--json"]
    words += ["--workdir", str(tmp_path)]
    printed = []
    for _ in range(2):
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    made = json.loads(printed[0])
    check(made, TABLE)
    assert made["seeds"] == [0]
    assert all(row["metrics"] for row in made["rows"])
