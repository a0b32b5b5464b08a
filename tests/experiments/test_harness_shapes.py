"""The JSON of every verb is a public interface: these are its shapes."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from json_shapes import (
    BENCH_ROW,
    COLLECTIVES,
    COMPILE,
    ENVIRONMENT,
    LIST,
    PEER,
    SCALING,
    TABLE,
    check,
)


@pytest.mark.parametrize("preset", ["smoke", "small"])
def test_table(harness, preset):
    made = json.loads(harness("table", "tiny-quadratic", "--preset", preset, "--json")[1])
    check(made, TABLE)
    assert (made["slug"], made["preset"]) == ("tiny-quadratic", preset)
    assert [row["name"] for row in made["rows"]] == ["slow", "fast"]
    assert made["rows"][0]["paper"] == {"loss": 0.5}


def test_list_counts_the_claims_of_the_kept_table(harness):
    before = json.loads(harness("list", "--json")[1])
    check(before, LIST)
    assert before[0]["claims"] == {"held": 0, "failed": 0}
    harness("table", "tiny-quadratic")
    after = json.loads(harness("list", "--json")[1])
    assert after == [before[0] | {"claims": {"held": 1, "failed": 0}}]
    assert "tiny-quadratic   1 ✓  0 ✗  A tiny quadratic (rule)" in harness("list")[1]


def test_bench_has_peers_only_where_installed(harness):
    made = json.loads(harness("bench", "tiny-quadratic", "--json")[1])
    check(made, {"slug": str, "rows": [{...: object}], "environment": ENVIRONMENT})
    backprop, again = made["rows"]
    check(backprop, BENCH_ROW)
    check(again, BENCH_ROW | PEER)
    assert backprop["ratio_to_backprop"] == 1
    assert again["peer"].startswith("numpy ")
    assert [peer["peer"] for peer in again["peers"]] == [again["peer"]]
    low, high = again["quartiles_ms"]
    assert 0 < low <= again["step_ms"] <= high
    assert (again["flops"], again["temp_bytes"]) == (backprop["flops"], backprop["temp_bytes"])
    kept = json.loads((harness.results / "bench.json").read_text())
    assert kept == {"tiny-quadratic": made}


def test_a_step_is_shared_by_as_many_devices_as_divide_its_batch(harness):
    made = json.loads(harness("bench", "tiny-quadratic", "--scaling", "--json")[1])
    check(made["scaling"], [SCALING])
    assert [(row["name"], row["devices"]) for row in made["scaling"]] == [
        (name, devices) for name in ("backprop", "again") for devices in (1, 2, 4, 8)
    ]
    assert all(row["ratio_to_one"] == 1 for row in made["scaling"] if row["devices"] == 1)
    assert json.loads((harness.results / "bench.json").read_text())["tiny-quadratic"] == made


@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
def test_compile_for_a_pod_has_one_all_reduce(harness, tmp_path):
    words = [sys.executable, str(harness.file), "compile", "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    made = json.loads(done.stdout)
    check(made, COMPILE)
    assert (made["topology"], made["devices"]) == ("v5e:16x16", 256)
    assert made["collectives"] == dict.fromkeys(COLLECTIVES, 0) | {"all-reduce": 1}
    kept = json.loads((harness.results / "tiny-quadratic" / "compile.json").read_text())
    assert kept == made

    unknown = subprocess.run(
        [*words, "--topology", "v5e:3"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "topology 'v5e:3' is not known" in unknown.stderr.splitlines()[-1]


def test_compile_without_libtpu_says_what_to_install(harness, tmp_path):
    code = (
        "import sys; sys.modules['libtpu'] = None; from pathlib import Path\n"
        "from experiments.harness.cli import command\n"
        f"sys.exit(command(['compile', 'tiny-quadratic'], Path({str(harness.folder)!r})))"
    )
    # importing JAX in this process has told its children where libtpu is
    env = {name: value for name, value in os.environ.items() if not name.startswith("TPU_")}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "pip install 'jaxlearn[tpu-compile]'" in done.stderr.splitlines()[-1]
