"""However a run is interrupted, called again it ends with the same bits and the same metrics."""

import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.runtime import Diverged, checkpoint, fit, locked, metrics
from tests.runtime import launch, toy


class Interrupted(Exception):
    """Raised by a callback, in place of whatever ends a process."""


def interrupt(at):
    def callback(step, state, row):
        if step >= at:
            raise Interrupted

    return callback


def run(workdir, batches=toy.batches, **more):
    settings = {
        "steps": 30,
        "chunk": 4,
        "evaluate": toy.evaluate,
        "evaluate_every": 6,
        "monitor": "validation/error",
        "mode": "min",
        "save_every": 5,
        "progress": False,
    }
    return fit(toy.step, toy.state(), batches, workdir=workdir, **(settings | more))


@pytest.mark.parametrize("on_device", [pytest.param(False, marks=pytest.mark.slow), True])
def test_interrupted_again_and_again(tmp_path, on_device):
    more = {"steps": 24, "save_every": 6, "on_device": on_device}
    straight = run(tmp_path / "straight", **more)
    for end in (5, 10, 16, 22):
        with pytest.raises(Interrupted):
            run(tmp_path / "cut", callbacks=[interrupt(end)], **more)
    again = run(tmp_path / "cut", **more)
    assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
    assert again.history == straight.history
    assert metrics.read(tmp_path / "cut") == straight.history


def test_a_finished_run_returns_at_once(tmp_path):
    done = run(tmp_path)
    called = []
    again = run(tmp_path, batches=lambda at: called.append(at))
    assert not called
    assert toy.bits((again.state, again.best)) == toy.bits((done.state, done.best))
    assert again.history == done.history


def test_a_finished_run_can_go_on(tmp_path):
    run(tmp_path / "a", steps=15)
    longer = run(tmp_path / "a", steps=30)
    # the shorter run was also evaluated at its end, which is no multiple of 6
    assert toy.bits(longer.state) == toy.bits(run(tmp_path / "b").state)


def test_early_stopping_resumes_within_its_patience(tmp_path):
    def evaluate(state):
        return {"validation/error": abs(float(state.step) - 15.0)}

    more = {"steps": 90, "evaluate": evaluate, "evaluate_every": 3, "patience": 6}
    straight = run(tmp_path / "a", **more)
    assert straight.steps == 33
    for end in (21, 27):
        with pytest.raises(Interrupted):
            run(tmp_path / "b", callbacks=[interrupt(end)], **more)
    again = run(tmp_path / "b", **more)
    assert again.steps == 33
    assert int(again.best.step) == 15
    assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
    # and once stopped it stays so
    assert run(tmp_path / "b", **more).steps == 33


def test_a_damaged_last_checkpoint_costs_steps_and_no_bits(tmp_path):
    straight = run(tmp_path / "a")
    with pytest.raises(Interrupted):
        run(tmp_path / "b", callbacks=[interrupt(23)])
    last = tmp_path / "b/checkpoints/20"
    (last / "notes.json").write_text("")
    with pytest.warns(UserWarning, match=r"step 20 .*notes.json"):
        again = run(tmp_path / "b")
    assert toy.bits(again.state) == toy.bits(straight.state)
    assert metrics.read(tmp_path / "b") == straight.history


def test_diverging_keeps_the_last_good_checkpoint_and_the_metrics(tmp_path):
    def poisoned(at):
        batch = toy.batches(at)
        return batch | {"labels": batch["labels"] * (np.inf if at == 22 else 1)}

    for _ in range(2):  # the second call resumes, and ends alike
        with pytest.raises(Diverged, match=r"step 23; not finite: b, w;"):
            run(tmp_path, batches=poisoned)
        assert checkpoint.steps(tmp_path / "checkpoints") == [15, 20]
        rows = metrics.read(tmp_path)
        assert [row["step"] for row in rows] == list(range(1, 24))
        assert rows[-1]["loss"] == np.inf


def test_a_state_with_broken_parameters_is_never_saved(tmp_path):
    def step(state, batch):
        new, values = toy.step(state, batch)
        factor = jnp.where(new.step == 20, jnp.nan, 1.0)
        return new._replace(params={"b": new.params["b"], "w": new.params["w"] * factor}), values

    with pytest.raises(Diverged, match=r"a parameter is not finite at step 20; not finite: w;"):
        fit(
            step,
            toy.state(),
            toy.batches,
            steps=40,
            workdir=tmp_path,
            save_every=5,
            progress=False,
        )
    assert checkpoint.steps(tmp_path / "checkpoints") == [10, 15]


SHORT = 300
"""Steps of a run that three kills, or one signal, do not see the end of."""
LONG = 1000


def undisturbed(folder, steps):
    return launch.result(launch.worker(folder, steps, steps)), metrics.read(folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("straight"), SHORT)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A run that ten kills do not see the end of."""
    return undisturbed(tmp_path_factory.mktemp("long"), LONG)


def until_compiled(process):
    for line in process.stderr:
        if "compiled in" in line:
            return
    raise AssertionError("the worker ended before its first step")


def kill_and_resume(folder, kills, seed, steps=SHORT):
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        process = launch.worker(folder, steps, 4)
        until_compiled(process)
        time.sleep(float(rng.uniform(0, 0.8)))
        process.kill()
        process.communicate()
    return launch.result(launch.worker(folder, steps, 4))


def test_killed_at_random_moments(tmp_path, straight):
    assert kill_and_resume(tmp_path, 3, seed=1) == straight[0]
    assert metrics.read(tmp_path) == straight[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_many_random_moments(tmp_path, long, seed):
    assert kill_and_resume(tmp_path, 10, seed, LONG) == long[0]
    assert metrics.read(tmp_path) == long[1]


def test_sigterm_saves_and_exits_143(tmp_path, straight):
    process = launch.worker(tmp_path, SHORT, SHORT)
    until_compiled(process)
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - begin < 20
    (step,) = checkpoint.steps(tmp_path / "checkpoints")
    assert 0 < step < SHORT
    assert launch.result(launch.worker(tmp_path, SHORT, SHORT)) == straight[0]
    assert metrics.read(tmp_path) == straight[1]


def test_a_second_worker_is_refused(tmp_path):
    owner = launch.worker(tmp_path, 10_000_000, 1_000_000)
    try:
        until_compiled(owner)
        second = launch.worker(tmp_path, 60, 4)
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert f"{tmp_path} is in use by process {owner.pid} on " in err.splitlines()[-1]
    finally:
        owner.kill()
        owner.communicate()
    with locked(tmp_path):  # killed, it leaves no lock behind
        pass
