"""Every experiment in two processes that share its workdir, as on a pod."""

import json

import pytest

from experiments.harness import discover
from tests.pod.test_launch import local


@pytest.mark.slow
@pytest.mark.parametrize("slug", discover.files())
def test_every_experiment_runs_in_two_processes(slug, tmp_path):
    """Every row comes to its end; one process trying to do alone what takes both would hang."""
    words = ["table", slug, "--preset", "smoke", "--seeds", "1", "--json"]
    done = local(2, *words, "--workdir", str(tmp_path / "runs"), logs=tmp_path / "logs")
    assert done.returncode in (0, 1), done.stderr[-2000:]
    made = discover.load(slug)
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["rows"]] == [
        row.name for row in made.rows(made.presets["smoke"])
    ]
    assert found["environment"]["devices"].startswith("2 ")
