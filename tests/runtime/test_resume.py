"""However a run is interrupted, called again it ends with the same bits and the same metrics."""

import itertools
import json
import re
import shutil
import signal
import time
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.runtime import (
    CheckpointError,
    Diverged,
    WorkdirError,
    checkpoint,
    fit,
    locked,
    metrics,
    progress,
)
from tests import disk
from tests.runtime import launch, toy


class Interrupted(BaseException):
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


def broken(what, at):
    """What `run` is given, of which `what` fails as soon as it sees step `at`."""

    def evaluate(state):
        if what == "evaluate" and int(state.step) >= at:
            raise OSError("no such plot")
        return toy.evaluate(state)

    def batches(step):
        if what == "batches" and step >= at:
            raise OSError("no such shard")
        return toy.batches(step)

    def callback(step, state, row):
        if what == "callback" and step >= at:
            raise OSError("no such picture")

    return {"evaluate": evaluate, "batches": batches, "callbacks": [callback]}


@pytest.mark.parametrize("what", ["evaluate", "batches", "callback"])
@pytest.mark.parametrize("at", [1, 17, 30])
def test_a_failure_beside_training_costs_no_step(tmp_path, what, at):
    if what == "batches":
        at -= 1
    more = {"save_every": None}
    straight = run(tmp_path / "straight", **more)
    for _ in range(2):  # the second call fails where the first one did
        with pytest.raises(OSError, match="no such"):
            run(tmp_path / "cut", **more, **broken(what, at))
    kept = checkpoint.steps(tmp_path / "cut/checkpoints")
    asked, called = [], []
    again = run(
        tmp_path / "cut",
        **more,
        batches=lambda step: asked.append(step) or toy.batches(step),
        callbacks=[lambda step, state, row: called.append((step, row))],
    )
    assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
    assert again.history == straight.history == metrics.read(tmp_path / "cut")
    if at > 4:
        assert at - 4 <= kept[-1] <= at + 1
        assert min(asked, default=30) == kept[-1]
        # what failed comes first; what waited for a batch the second call has done
        first = kept[-1] if what != "batches" else 18 if at < 18 else 30
        assert called[0] == (first, straight.history[first - 1])
    # where all is well the next call finds nothing owed
    assert run(tmp_path / "cut", **more, **broken("evaluate", 0)).history == straight.history


def test_a_failure_is_told_though_the_state_cannot_be_saved(tmp_path):
    def evaluate(state):
        shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
        (tmp_path / "checkpoints").write_text("in the way")
        raise OSError("no such plot")

    with pytest.raises(OSError, match="no such plot") as error:
        run(tmp_path, evaluate=evaluate, save_every=None)
    (note,) = error.value.__notes__
    assert re.match(r"nor could the steps before it be saved: .*checkpoints", note)


@pytest.mark.parametrize("at", [4, 8, 30])
def test_a_failing_display_doubles_no_row(tmp_path, monkeypatch, at):
    more = {"save_every": None, "evaluate_every": None}
    straight = run(tmp_path / "straight", **more)
    status = progress.status

    def broken(step, *rest):
        if step == at:
            raise BrokenPipeError("nobody reads")
        return status(step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "EVERY", 0.0)
        patch.setattr(progress, "status", broken)
        with pytest.raises(BrokenPipeError):
            run(tmp_path / "cut", progress=True, **more)
    assert checkpoint.steps(tmp_path / "cut/checkpoints") == [min(at + 4, 30)]
    again = run(tmp_path / "cut", **more)
    assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
    assert again.history == straight.history == metrics.read(tmp_path / "cut")


def test_a_failure_at_broken_parameters_saves_none(tmp_path):
    def step(state, batch):
        new, values = toy.step(state, batch)
        return new._replace(params={"b": new.params["b"], "w": new.params["w"] * jnp.nan}), values

    def evaluate(state):
        assert np.isfinite(np.asarray(state.params["w"])).all(), "no number"
        return {}

    with pytest.raises(AssertionError, match="no number") as error:
        fit(
            step,
            toy.state(),
            toy.batches,
            steps=1,
            evaluate=evaluate,
            workdir=tmp_path,
            progress=False,
        )
    assert "a parameter is not finite at step 1; not finite: w" in error.value.__notes__[0]
    assert checkpoint.steps(tmp_path / "checkpoints") == []


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
        with pytest.raises(Diverged, match=r"step 23; parameters were finite;"):
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


@pytest.mark.parametrize("leave", [0, 4096, 40_000])
def test_a_full_disk_ends_the_run_and_space_continues_it(tmp_path, capfd, leave):
    straight = run(tmp_path / "straight")
    with disk.small(tmp_path / "disk", "2m") as folder:
        with pytest.raises(Interrupted):
            run(folder, callbacks=[interrupt(13)])
        before = disk.contents(folder / "checkpoints")
        filler = disk.fill(folder, leave)
        with pytest.raises((CheckpointError, WorkdirError), match=r"(?i)no space left") as error:
            run(folder)
        assert "\n" not in str(error.value)
        assert capfd.readouterr().err == ""
        assert disk.contents(folder / "checkpoints") == before
        filler.unlink()
        again = run(folder)
        assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
        assert metrics.read(folder) == straight.history


def test_a_read_only_workdir_is_one_line_and_stays_as_it_was(tmp_path):
    with disk.small(tmp_path / "disk", "2m") as folder:
        run(folder, steps=10)
        disk.read_only(folder)
        before = disk.contents(folder)
        with pytest.raises(WorkdirError, match=r"Read-only file system; choose a workdir") as error:
            run(folder)
        assert "\n" not in str(error.value)
        assert disk.contents(folder) == before


def test_a_clock_set_back_all_the_time_loses_and_doubles_nothing(tmp_path, monkeypatch, capsys):
    straight = run(tmp_path / "straight")
    hours = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 2e9 - 3600 * next(hours))
    monkeypatch.setattr(progress, "EVERY", 0.0)
    for end in (8, 16):
        with pytest.raises(Interrupted):
            run(tmp_path / "cut", callbacks=[interrupt(end)])
    again = run(tmp_path / "cut", progress=True)
    assert toy.bits((again.state, again.best)) == toy.bits((straight.state, straight.best))
    assert again.history == metrics.read(tmp_path / "cut") == straight.history
    shown = [line for line in capsys.readouterr().err.splitlines() if "steps/s" in line]
    assert shown
    # the first chunk has no rate yet
    assert all(re.match(r"\d+/30  \d+\.\d steps/s  (\?|0:0\d) left  loss ", line) for line in shown)


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
    """What the process says until its program is compiled."""
    said = ""
    for line in process.stderr:
        said += line
        if "compiled in" in line:
            return said
    raise AssertionError("the worker ended before its first step")


def until_saving(process, folder):
    while process.poll() is None and not drafts(folder):
        time.sleep(0.001)


def cache(folder):
    """What has every program of a worker kept for the next one."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def drafts(folder):
    return list((folder / "checkpoints").glob("*.draft"))


def kill_and_resume(folder, kills, seed, steps, save_every):
    """Kill at a random moment and within a save, in turn; some saves have to be cut off."""
    rng, cut = np.random.default_rng(seed), 0
    for number in range(kills):
        process = launch.worker(folder, steps, save_every, **cache(folder))
        until_compiled(process)
        if number % 2:
            time.sleep(float(rng.uniform(0, 0.8)))
        else:
            until_saving(process, folder)
        process.kill()
        process.communicate()
        cut += bool(drafts(folder))
    assert cut
    return launch.result(launch.worker(folder, steps, save_every, **cache(folder)))


def test_killed_at_random_moments(tmp_path, straight):
    assert kill_and_resume(tmp_path, 3, 1, SHORT, 12) == straight[0]
    assert metrics.read(tmp_path) == straight[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_many_random_moments(tmp_path, long, seed):
    assert kill_and_resume(tmp_path, 10, seed, LONG, 4) == long[0]
    assert metrics.read(tmp_path) == long[1]


def compiled(log):
    """How often XLA compiled each program, by JAX's log: what the cache had is not compiled."""
    ready = Counter(re.findall(r"Finished XLA compilation of jit\((\S+)\) in", log))
    return ready - Counter(re.findall(r"Persistent compilation cache hit for 'jit_(\w+)'", log))


def test_sigterm_saves_and_exits_143_and_resuming_compiles_nothing(tmp_path, straight):
    environ = cache(tmp_path) | {"JAX_LOG_COMPILES": "1"}
    process = launch.worker(tmp_path, SHORT, SHORT, **environ)
    said = until_compiled(process)
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert time.monotonic() - begin < 5
    (step,) = checkpoint.steps(tmp_path / "checkpoints")
    assert 0 < step < SHORT
    assert compiled(said)["device_loop"] == 1
    resumed = launch.worker(tmp_path, SHORT, SHORT, **environ)
    out, said = resumed.communicate(timeout=120)
    assert json.loads(out) == straight[0]
    assert metrics.read(tmp_path) == straight[1]
    assert "cache hit for 'jit_device_loop'" in said
    assert "device_loop" not in compiled(said)
    # that run was whole: evaluations and saving included, the next one compiles nothing at all
    whole = launch.worker(tmp_path / "again", SHORT, SHORT, **environ)
    out, said = whole.communicate(timeout=120)
    assert json.loads(out) == straight[0]
    assert not compiled(said)


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
