"""One device, eight virtual devices, and two processes of two devices do the same."""

import signal
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxlearn.runtime import checkpoint, data_mesh, metrics, place, start
from jaxlearn.runtime.parallel import check_divides
from tests.runtime import launch, toy

CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def losses(folder):
    return [row["loss"] for row in metrics.read(folder)]


def expected_losses(steps):
    now, found, once = toy.state(), [], jax.jit(toy.step)
    for at in range(steps):
        now, values = once(now, toy.batches(at))
        found.append(float(values["loss"]))
    return found


def close(found, steps):
    np.testing.assert_allclose(found["w"], toy.by_hand(steps).params["w"], **CLOSE)


def test_from_one_device_to_eight_to_two_processes_and_back(tmp_path):
    assert launch.result(launch.worker(tmp_path, 10, 5))["rows"] == 10
    close(launch.result(launch.worker(tmp_path, 15, 5, devices=8)), 15)
    first, second = [launch.result(process) for process in launch.pod(tmp_path, 20, 5)]
    assert first == second
    close(first, 20)
    assert checkpoint.steps(tmp_path / "checkpoints") == [15, 20]
    close(launch.result(launch.worker(tmp_path, 25, 5)), 25)
    # the order of the data is the same: every loss is
    np.testing.assert_allclose(losses(tmp_path), expected_losses(25), rtol=1e-5)


def test_nan_on_one_device_stops_all_at_the_same_step(tmp_path):
    pod = launch.pod(tmp_path, 60, 5, BROKEN="1")
    said = [process.communicate(timeout=100)[1].splitlines()[-1] for process in pod]
    assert [process.returncode for process in pod] == [1, 1]
    assert said[0] == said[1]
    assert said[0].startswith(
        "loss is not finite at step 13; parameters were finite; the last good"
    )
    assert checkpoint.steps(tmp_path / "checkpoints") == [5, 10]
    assert [row["step"] for row in metrics.read(tmp_path)] == list(range(1, 14))


@pytest.mark.slow
def test_a_slow_process_is_waited_for(tmp_path):
    begin = time.monotonic()
    pod = launch.pod(tmp_path, 20, 5, SLOW="1", SECONDS="8")
    first, second = [launch.result(process) for process in pod]
    assert time.monotonic() - begin > 8
    assert first == second
    close(first, 20)


@pytest.mark.slow
def test_a_process_later_than_signs_of_life_are_waited_for_is_not_taken_for_dead(tmp_path):
    """Its data is late, its heart beats: 55 seconds are more than the 40 without one."""
    pod = launch.pod(tmp_path, 20, 5, SLOW="1", SECONDS="55")
    first, second = [launch.result(process, timeout=300) for process in pod]
    assert first == second
    close(first, 20)


@pytest.mark.slow
def test_a_stopped_process_is_waited_for_and_goes_on(tmp_path):
    pod = launch.pod(tmp_path, 4000, 4000)
    for line in pod[0].stderr:
        if "compiled in" in line:
            break
    pod[1].send_signal(signal.SIGSTOP)
    time.sleep(15)
    assert [process.poll() for process in pod] == [None, None]
    pod[1].send_signal(signal.SIGCONT)
    first, second = [launch.result(process, timeout=300) for process in pod]
    assert first == second
    close(first, 4000)


def test_several_processes_without_a_mesh_are_refused_before_anything_is_written(tmp_path):
    for process in launch.pod(tmp_path / "run", 20, 5, ALONE=""):
        _, said = process.communicate(timeout=100)
        assert process.returncode == 1
        assert "pass mesh=every_device()" in said.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_the_run_goes_on_later(tmp_path):
    pod = launch.pod(tmp_path, 1_000_000, 5)
    while not checkpoint.steps(tmp_path / "checkpoints"):
        assert pod[0].poll() is None
        time.sleep(0.05)
    pod[1].kill()
    begin = time.monotonic()
    _, said = pod[0].communicate(timeout=100)
    assert time.monotonic() - begin < 60
    assert pod[0].returncode not in (0, 143), said
    pod[1].communicate()
    steps = max(checkpoint.steps(tmp_path / "checkpoints")) + 20
    close(launch.result(launch.worker(tmp_path, steps, 5)), steps)


def test_sigterm_to_one_process_stops_all_at_one_step(tmp_path):
    pod = launch.pod(tmp_path, 1_000_000, 1_000_000)
    for line in pod[0].stderr:
        if "compiled in" in line:
            break
    time.sleep(1)
    pod[1].terminate()
    for process in pod:
        process.communicate(timeout=100)
    assert [process.returncode for process in pod] == [143, 143]
    (step,) = checkpoint.steps(tmp_path / "checkpoints")
    assert 0 < step < 1_000_000


def test_a_missing_process_is_named_and_not_waited_for_for_ever(tmp_path):
    begin = time.monotonic()
    only = launch.pod(tmp_path, 20, 5, present=1, JAXLEARN_START_TIMEOUT="3")[0]
    _, err = only.communicate(timeout=100)
    assert only.returncode == 2, err
    assert err.startswith("start: expected 2 processes within 3 s, 1 came, missing: 1; start every")
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    "environ, message",
    [
        ({"JAXLEARN_COORDINATOR": "x:1"}, r"JAXLEARN_PROCESSES, JAXLEARN_PROCESS_ID not set"),
        (
            {
                "JAXLEARN_COORDINATOR": "x:1",
                "JAXLEARN_PROCESSES": "two",
                "JAXLEARN_PROCESS_ID": "0",
            },
            r"JAXLEARN_PROCESSES='two' is not a number",
        ),
    ],
)
def test_a_half_described_pod_is_refused(environ, message):
    with pytest.raises(ValueError, match=message):
        start(environ)


def test_alone_there_is_nothing_to_join():
    assert start({"SLURM_NTASKS": "1", "TPU_WORKER_HOSTNAMES": "localhost"}) == 0


def test_a_batch_that_does_not_divide_is_refused_with_the_three_numbers():
    devices = np.array([SimpleNamespace(process_index=i // 4) for i in range(8)])
    eight = SimpleNamespace(shape={"data": 8}, devices=devices)
    check_divides(4, eight)
    with pytest.raises(ValueError, match=r"batch of 12 does not divide over 8 devices in 2 proc"):
        check_divides(6, eight)
    with pytest.raises(ValueError, match=r"batch of 0 "):
        place({"inputs": np.zeros((0, 3))}, data_mesh(jax.devices()[:1]))


def test_the_mesh_refuses_a_model_axis_that_does_not_divide():
    assert dict(data_mesh(jax.devices()[:1], model=1).shape) == {"data": 1, "model": 1}
    with pytest.raises(ValueError, match=r"model=3 does not divide 1 devices"):
        data_mesh(jax.devices()[:1], model=3)
