import os
import signal
import subprocess
import sys
import threading

import pytest

from jaxlearn.runtime import fit, termination
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
        "    for _ in range(2):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, timeout=50)
    assert done.returncode == 143


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
