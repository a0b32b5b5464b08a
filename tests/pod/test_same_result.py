"""One device, 2, 4, 8, four copies on 8, and two processes of two end with the same weights."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.devices import ROOT, environment


def launch(devices: int, *arguments: str, **env: str) -> subprocess.Popen:
    """Start the worker on so many virtual devices."""
    command = [sys.executable, "-m", "tests.pod.worker", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment(devices) | env, **pipes)


def finish(*workers: subprocess.Popen) -> None:
    """Wait for all workers; one that failed shows its output."""
    for worker in workers:
        output, _ = worker.communicate(timeout=3600)
        assert worker.returncode == 0, output[-3000:]


@pytest.fixture(scope="module", params=["SOME", pytest.param("ALL", marks=pytest.mark.slow)])
def alone(request, tmp_path_factory) -> tuple[str, dict[str, np.ndarray]]:
    """Which rules, and their weights after training on one device."""
    path = tmp_path_factory.mktemp("pod") / "one.npz"
    finish(launch(1, str(path), request.param))
    return request.param, dict(np.load(path))


def compare(path: Path, expected: dict[str, np.ndarray]) -> None:
    """Within 1e-5 of the largest weight, and without a drift to one side."""
    found = dict(np.load(path))
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        difference = (found[name] - weights) / np.abs(weights).max()
        assert np.abs(difference).max() < 1e-5, name
        assert abs(difference.mean()) < 1e-6, name


FEW = [pytest.param(devices, marks=pytest.mark.slow) for devices in (2, 4)]


@pytest.mark.parametrize("devices", [*FEW, 8])
def test_several_devices_equal_one(alone, tmp_path, devices):
    path = tmp_path / "several.npz"
    finish(launch(devices, str(path), alone[0]))
    compare(path, alone[1])


@pytest.mark.slow
def test_pairs_of_devices_that_share_a_copy_equal_one(alone, tmp_path):
    path = tmp_path / "pairs.npz"
    finish(launch(8, str(path), alone[0], JAXLEARN_MODEL_DEVICES="2"))
    compare(path, alone[1])


def test_two_processes_of_two_devices_equal_one(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    path = str(tmp_path / "two.npz")
    finish(*[launch(2, path, alone[0], coordinator, "2", str(i)) for i in range(2)])
    compare(Path(path), alone[1])
