import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxlearn.runtime import checkpoint, fit, termination
from tests.runtime import toy


def test_the_first_sigterm_is_noted_and_the_old_handler_returns():
    before = signal.getsignal(signal.SIGTERM)
    with termination() as terminated:
        os.kill(os.getpid(), signal.SIGTERM)
        assert terminated.wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_second_sigterm_exits_at_once():
    program = (
        "import os, signal, time\n"
        "from jaxlearn.runtime.signals import termination\n"
        "with termination():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(time.monotonic(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=50)
    assert done.returncode == 143
    assert time.monotonic() - float(done.stdout) < 5


TWICE = """
import os, signal, sys
from jaxlearn.runtime import arrays, fit
from tests.runtime.test_signals import SETTINGS, toy

write = arrays.write


def terminated_again(folder, tree):
    write(folder, tree)
    if folder.parent.name == "25.draft":
        os.kill(os.getpid(), signal.SIGTERM)


def callback(at, state, row):
    if at == 20:
        print(*[leaf.hex() for leaf in toy.bits(state)], sep=",")
    if at == 25:
        os.kill(os.getpid(), signal.SIGTERM)


arrays.write = terminated_again
fit(toy.step, toy.state(), toy.batches, workdir=sys.argv[1], callbacks=[callback], **SETTINGS)
"""
SETTINGS = {"steps": 60, "chunk": 5, "save_every": 20, "progress": False}


def test_a_second_sigterm_within_the_save_loses_nothing_committed(tmp_path):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", TWICE, str(tmp_path)]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=100)
    assert done.returncode == 143
    assert (tmp_path / "checkpoints" / "25.draft").is_dir()
    saved = checkpoint.restore(tmp_path / "checkpoints", lambda notes: {"state": toy.state()})
    assert saved.step == 20
    assert [leaf.hex() for leaf in toy.bits(saved.tree)] == done.stdout.strip().split(",")
    again = fit(toy.step, toy.state(), toy.batches, workdir=tmp_path, **SETTINGS)
    assert [row["step"] for row in again.history] == list(range(1, 61))


def test_outside_of_the_main_thread_it_is_never_set():
    found = []

    def inside():
        with termination() as terminated:
            found.append(terminated.is_set())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert found == [False]


def test_a_run_without_a_workdir_leaves_with_143():
    def callback(at, state, row):
        seen.append(at)
        os.kill(os.getpid(), signal.SIGTERM)

    seen = []
    with pytest.raises(SystemExit) as left:
        fit(
            toy.step,
            toy.state(),
            toy.batches,
            steps=90,
            chunk=5,
            callbacks=[callback],
            progress=False,
        )
    assert left.value.code == 143
    assert seen == [5]
