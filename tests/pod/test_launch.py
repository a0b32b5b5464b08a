"""The launchers: several processes on this machine, and the manifests for clusters."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.devices import ROOT, environment

LAUNCH = ROOT / "experiments" / "launch"


def local(processes: int, *words: str, logs: Path, devices: int = 1, timeout: float = 1800):
    """Run `local.sh` to its end."""
    own = environment(1) | {"PYTHON": sys.executable, "LOGS": str(logs), "DEVICES": str(devices)}
    command = [str(LAUNCH / "local.sh"), str(processes), *words]
    return subprocess.run(
        command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=timeout
    )


@pytest.mark.slow
def test_a_table_of_two_processes_equals_that_of_one(tmp_path):
    """Two processes of two devices share every batch of every row of the demo."""
    words = ["table", "demo", "--preset", "smoke", "--seeds", "2", "--json"]
    alone = subprocess.run(
        [sys.executable, "-m", "experiments", *words, "--workdir", str(tmp_path / "alone")],
        cwd=ROOT, env=environment(1), capture_output=True, text=True,
    )  # fmt: skip
    shared = [*words, "--workdir", str(tmp_path / "shared")]
    together = local(2, *shared, logs=tmp_path / "logs", devices=2)
    assert alone.returncode in (0, 1), alone.stderr[-2000:]
    assert together.returncode == alone.returncode, together.stderr[-2000:]
    one, two = (json.loads(done.stdout) for done in (alone, together))
    assert two["environment"]["devices"].startswith("4 ")
    for mine, theirs in zip(one["rows"], two["rows"], strict=True):
        assert mine["name"] == theirs["name"]
        for name, cell in mine["metrics"].items():
            # an example or two of 360 may fall to the other side of a boundary
            assert abs(cell["mean"] - theirs["metrics"][name]["mean"]) < 0.6, (mine["name"], name)
    assert (tmp_path / "logs" / "process-1.log").exists()


def test_a_process_that_cannot_go_on_ends_all_with_its_reason(tmp_path):
    start = time.monotonic()
    done = local(2, "run", "no-such-paper", logs=tmp_path)
    assert done.returncode == 2
    assert "no-such-paper" in done.stderr
    assert "process-" in done.stderr
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_a_killed_process_ends_the_others_within_a_minute(tmp_path):
    own = environment(1) | {"PYTHON": sys.executable, "LOGS": str(tmp_path / "logs")}
    words = ["run", "demo", "--preset", "paper", "--workdir", str(tmp_path / "runs")]
    launcher = subprocess.Popen(
        [str(LAUNCH / "local.sh"), "2", *words], cwd=ROOT, env=own, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    log = tmp_path / "logs" / "process-0.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "steps/s" in log.read_text()):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.5)
    victims = subprocess.run(
        ["pgrep", "-P", str(launcher.pid), "-f", "experiments"], capture_output=True, text=True
    ).stdout.split()
    os.kill(int(victims[1]), 9)
    killed = time.monotonic()
    _, said = launcher.communicate(timeout=90)
    assert time.monotonic() - killed < 60
    assert launcher.returncode == 137
    assert "ended with status 137" in said


REQUIRED = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "job": {"parallelism", "completions", "completionMode", "backoffLimit", "template"},
    "pod": {"restartPolicy", "containers", "nodeSelector", "terminationGracePeriodSeconds"},
    "container": {"name", "image", "command", "args", "resources"},
}


def test_the_jobset_is_one_that_kubernetes_takes():
    """The fields that JobSet, Job and Pod require or that resuming needs, and their types."""
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    assert jobset.keys() >= REQUIRED[""]
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = jobset["spec"]["replicatedJobs"]
    assert replicated.keys() >= {"name", "template"}
    job = replicated["template"]["spec"]
    assert job.keys() >= REQUIRED["job"]
    assert job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"]
    pod = job["template"]["spec"]
    assert pod.keys() >= REQUIRED["pod"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert container.keys() >= REQUIRED["container"]
    chips = container["resources"]["limits"]["google.com/tpu"]
    topology = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"]
    rows, columns = map(int, topology.split("x"))
    assert chips * job["parallelism"] == rows * columns
    assert chips == container["resources"]["requests"]["google.com/tpu"]
    assert all(isinstance(word, str) for word in [*container["command"], *container["args"]])
    assert all(isinstance(variable["value"], str) for variable in container["env"])
    failing = job["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert failing["containerName"] == container["name"]
    assert failing["values"] == [1, 2]


@pytest.mark.parametrize("script", ["local.sh", "tpu_vm.sh", "slurm.sh"])
def test_scripts_are_executable_and_parse(script):
    path = LAUNCH / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
