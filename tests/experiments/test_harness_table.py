import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.harness import Claim, Measured, Row, experiment, runs, store
from experiments.harness import table as tables
from jaxlearn.runtime import Diverged, locked
from tests import disk


def closed_form(learning_rate, steps, seeds):
    """Loss of the dummy: x0²/2 · (1 - learning_rate)^(2 steps)."""
    starts = np.array([1 + np.random.default_rng(seed).random() for seed in seeds])
    return starts**2 / 2 * (1 - learning_rate) ** (2 * steps)


def test_table_measures_every_row_at_every_seed(harness):
    status, out, _ = harness("table", "tiny-quadratic", "--json")
    made = json.loads(out)
    assert status == 0
    assert made["seeds"] == [0, 1, 2]
    for row, rate in zip(made["rows"], (0.1, 0.4), strict=True):
        expected = closed_form(rate, 20, range(3))
        assert row["metrics"]["loss"]["n"] == 3
        assert row["metrics"]["loss"]["mean"] == pytest.approx(expected.mean(), rel=1e-9)
        assert row["metrics"]["loss"]["std"] == pytest.approx(expected.std(ddof=1), rel=1e-9)


def test_repeated_table_trains_nothing_and_says_the_same(harness):
    first = harness("table", "tiny-quadratic", "--json")[1]
    assert len(harness.calls()) == 6
    assert harness("table", "tiny-quadratic", "--json")[1] == first
    assert harness.calls() == []


def test_more_seeds_train_only_the_new_ones(harness):
    harness("table", "tiny-quadratic", "--seeds", "1")
    harness.calls()
    harness("table", "tiny-quadratic", "--seeds", "3")
    assert harness.calls() == ["0.1 1", "0.1 2", "0.4 1", "0.4 2"]


@pytest.mark.parametrize("stop", [(0.1, 0), (0.1, 2), (0.4, 0), (0.4, 1)])
def test_interrupted_table_continues_with_what_is_missing(harness, stop):
    straight = ["0.1 0", "0.1 1", "0.1 2", "0.4 0", "0.4 1", "0.4 2"]
    flag = harness.home / f"stop-{stop[0]}-{stop[1]}"
    flag.touch()
    status, out, err = harness("table", "tiny-quadratic", "--json")
    place = straight.index(f"{stop[0]} {stop[1]}")
    assert (status, out) == (130, "")
    assert err.splitlines()[-1] == "error: interrupted; the same command continues"
    assert harness.calls() == straight[: place + 1]
    assert not harness.results.exists()

    flag.unlink()
    resumed = harness("table", "tiny-quadratic", "--json")[1]
    assert harness.calls() == straight[place:]
    for folder in harness.home.glob("*/seed-*"):
        (folder / "result.json").unlink()
    assert harness("table", "tiny-quadratic", "--json")[1] == resumed


def test_failed_claim_exits_1_and_keeps_the_table(harness):
    status, out, _ = harness("table", "tiny-quadratic", "--preset", "smoke", "--json")
    made = json.loads(out)
    assert status == 1
    assert {claim["id"]: claim["holds"] for claim in made["claims"]} == {
        "faster": True,
        "below": False,
    }
    kept = harness.home / "tables" / "smoke-seeds-0-0.json"
    assert json.loads(kept.read_text()) == made
    assert not harness.results.exists(), "smoke tables are not results"


def test_failed_claim_is_printed_with_figures_and_explanation(harness):
    _, out, _ = harness("table", "tiny-quadratic", "--preset", "smoke")
    text = " ".join(out.split())
    assert "✓ faster" in text
    assert re.search(r"✗ below: slow ends below 0.1 \[.*slow 0\.712\] — few steps", text)


def test_claim_for_another_preset_is_listed_and_not_judged(harness):
    status, out, _ = harness("table", "tiny-quadratic", "--json")
    made = json.loads(out)
    assert status == 0
    assert [claim["id"] for claim in made["unjudged"]] == ["below", "scale"]


def test_pilot_seeds_do_not_become_results(harness):
    words = ("--first-seed", "100", "--seeds", "3")
    made = json.loads(harness("table", "tiny-quadratic", *words, "--json")[1])
    assert made["seeds"] == [100, 101, 102]
    assert not harness.results.exists()
    assert (harness.home / "tables" / "small-seeds-100-102.json").exists()


def test_markdown_agrees_with_json(harness):
    harness("table", "tiny-quadratic")
    folder = harness.results / "tiny-quadratic"
    made = json.loads((folder / "small.json").read_text())
    text = (folder / "small.md").read_text()
    cells = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith("|")
    }
    assert cells["row"] == ["loss", "paper", "start", "missing"]
    for row in made["rows"]:
        mean, std = re.fullmatch(r"(\S+) ± (\S+)", cells[row["name"]][0]).groups()
        loss = row["metrics"]["loss"]
        assert len(loss["values"]) == loss["n"] == len(made["seeds"])
        assert statistics.fmean(loss["values"]) == pytest.approx(loss["mean"])
        assert float(mean) == pytest.approx(loss["mean"], abs=max(loss["std"] / 20, 1e-4))
        assert float(std) == pytest.approx(loss["std"], rel=0.05)
        assert cells[row["name"]][1] == ("0.5" if row["paper"] else "")
        assert cells[row["name"]][3].startswith("n/a")
    for claim in made["claims"]:
        assert f"{claim['id']}: {claim['text']} [{claim['measured']}]" in text
    assert made["metrics"] == {"loss": "`x^2 / 2` at the end", "st*t": "always 1"}
    assert "- `st*t`: always 1\n" in text
    assert "1. It is not a paper." in text
    assert (folder / "small.png").read_bytes().startswith(b"\x89PNG")


def test_concurrent_table_is_refused_with_the_owners_pid(harness):
    code = (
        "import sys, time; from pathlib import Path; from jaxlearn.runtime import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(harness.home)], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout.readline() == b"held\n"
        status, out, err = harness("table", "tiny-quadratic", "--json")
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert (status, out) == (2, "")
    assert f"in use by process {owner.pid} " in err
    assert harness.calls() == []
    assert harness("table", "tiny-quadratic")[0] == 0, "a killed owner holds nothing"


def test_seed_being_trained_elsewhere_is_refused_but_others_run(harness):
    status, out, _ = harness("run", "tiny-quadratic", "--seed", "0", "--json")
    config = Path(json.loads(out)["folder"])
    with locked(config / "locks" / "seed-1"):
        refused, _, err = harness("run", "tiny-quadratic", "--seed", "1")
        other, _, _ = harness("run", "tiny-quadratic", "--seed", "2")
    assert (status, refused, other) == (0, 2, 0)
    assert f"process {os.getpid()}" in err


def test_run_returns_at_once_and_shares_results_with_the_table(harness):
    harness("run", "tiny-quadratic", "--row", "fast", "--seed", "1")
    assert harness.calls() == ["0.4 1"]
    harness("run", "tiny-quadratic", "--config.learning_rate", "0.4", "--seed", "1")
    assert harness.calls() == [], "an equal config is the same run"
    harness("table", "tiny-quadratic")
    assert "0.4 1" not in harness.calls()


def test_config_is_stored_beside_the_seeds(harness):
    words = ("--json", "--config.steps", "5", "--config.noise", "some")
    out = harness("run", "tiny-quadratic", *words)[1]
    stored = json.loads((Path(json.loads(out)["folder"]) / "config.json").read_text())
    assert stored["steps"] == 5
    assert stored["noise"] == "some"


def test_damaged_result_is_named(harness):
    harness("table", "tiny-quadratic")
    broken = next(harness.home.glob("*/seed-1/result.json"))
    broken.write_text('{"loss": 0.')
    status, _, err = harness("table", "tiny-quadratic")
    assert status == 2
    assert str(broken) in err


def test_full_disk_exits_2_without_a_partial_result(harness, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = harness("table", "tiny-quadratic")
    assert status == 2
    assert err.splitlines()[-1] == "error: [Errno 28] No space left on device"
    assert list(harness.home.glob("**/result.json")) == []
    assert list(harness.home.glob("**/.*")) == []


def test_read_only_workdir_exits_2_and_keeps_what_there_is(harness):
    with disk.small(harness.workdir) as workdir:
        (workdir / "tiny-quadratic").mkdir()
        assert harness("table", "tiny-quadratic", "--seeds", "1")[0] == 0
        disk.read_only(workdir)
        before = disk.contents(workdir)
        status, out, err = harness("table", "tiny-quadratic")
        assert (status, out) == (2, "")
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert line.endswith("Read-only file system; choose a workdir to write to")
        assert disk.contents(workdir) == before


def test_workdir_that_is_a_file_exits_2(harness, tmp_path, capsys):
    from experiments.harness.cli import command

    (tmp_path / "taken").touch()
    words = ["table", "tiny-quadratic", "--workdir", str(tmp_path / "taken")]
    assert command(words, harness.folder) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def made_by_hand(train, claims=lambda measured: [], rows=None):
    presets = dict.fromkeys(("smoke", "small", "paper"), 0.5)
    return experiment.Experiment(
        slug="by-hand",
        title="By hand",
        paper="",
        slots=("rule",),
        Config=float,
        presets=presets,
        rows=rows or (lambda config: [Row("only", config)]),
        train=train,
        claims=claims,
    )


def test_missing_seeds_are_trained_in_one_call(tmp_path):
    asked = []

    def train(config, seeds, run):
        asked.append(tuple(seeds))
        return {seed: {"loss": float(seed)} for seed in seeds}

    made = made_by_hand(train)
    runs.finish(made, 0.5, [1], tmp_path)
    found = runs.finish(made, 0.5, [0, 1, 2], tmp_path)
    assert asked == [(1,), (0, 2)]
    assert found == {seed: {"loss": float(seed)} for seed in range(3)}


def test_train_that_forgets_a_seed_is_refused(tmp_path):
    made = made_by_hand(lambda config, seeds, run: {0: {"loss": 1.0}})
    with pytest.raises(ValueError, match=r"no metrics for the seeds \[1\]"):
        runs.finish(made, 0.5, [0, 1], tmp_path)


def test_seeds_that_measure_different_things_are_refused(tmp_path):
    made = made_by_hand(lambda config, seeds, run: {0: {"a": 1.0}, 1: {"b": 1.0}})
    with pytest.raises(ValueError, match="row 'only' measured different things"):
        tables.make(made, "small", [0, 1], tmp_path)


def test_rows_of_one_name_are_refused(tmp_path):
    made = made_by_hand(lambda *_: {}, rows=lambda config: [Row("a", 1.0), Row("a", 2.0)])
    with pytest.raises(ValueError, match=r"given twice: \['a'\]"):
        tables.make(made, "small", [0], tmp_path)


def test_number_that_is_not_finite_survives_as_null(tmp_path):
    seen = []

    def claims(measured):
        seen.append(measured.mean("only", "loss"))
        return [Claim("finite", "loss is finite", bool(np.isfinite(seen[-1])), "nan")]

    made = made_by_hand(lambda config, seeds, run: {s: {"loss": math.inf} for s in seeds}, claims)
    for _ in range(2):
        table = tables.make(made, "small", [0, 1], tmp_path)
        assert tables.failed(table)
        assert json.loads(store.dump(table))["rows"][0]["metrics"]["loss"]["mean"] is None
    assert not np.isfinite(seen).any()


def test_measured_names_what_there_is():
    measured = Measured({"ours": {"loss": [1.0]}})
    with pytest.raises(ValueError, match=r"no row 'theirs'.*'ours'"):
        measured.mean("theirs", "loss")
    with pytest.raises(ValueError, match=r"no metric 'los'.*'loss'"):
        measured.mean("ours", "los")


def test_run_that_diverged_is_no_bad_input(tmp_path):
    def train(config, seeds, run):
        raise Diverged("loss is not finite at step 3", 3)

    with pytest.raises(FloatingPointError, match="not finite at step 3"):
        runs.finish(made_by_hand(train), 0.5, [0], tmp_path)


def test_training_loop_may_lock_the_folder_it_is_given(tmp_path):
    def train(config, seeds, run):
        with locked(run.folder(0)), locked(run.folder(seeds)):
            return {seed: {"loss": 1.0} for seed in seeds}

    assert len(runs.finish(made_by_hand(train), 0.5, [0, 1], tmp_path)) == 2
