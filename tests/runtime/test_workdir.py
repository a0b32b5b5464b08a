"""A workdir has one owner and one config, and says who and which."""

import os
import subprocess
import sys

import pytest

from jaxlearn.runtime import WorkdirError, bind, fit, locked
from tests.runtime import toy


def test_one_owner_at_a_time(tmp_path):
    with locked(tmp_path / "run") as folder:
        assert (folder / "lock").read_text().startswith(f"{os.getpid()} on ")
        with pytest.raises(WorkdirError, match=rf"in use by process {os.getpid()} on"):
            locked(folder).__enter__()
    with locked(folder):
        pass


def test_a_dead_owner_is_succeeded_even_if_a_child_of_it_lives(tmp_path):
    # the owner dies at once; its child inherits the open lock file and stays
    owner = (
        "import os, subprocess, sys\n"
        "from jaxlearn.runtime.workdir import _acquire\n"
        "from pathlib import Path\n"
        "fd = _acquire(Path(sys.argv[1]) / 'lock')\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[fd], stdout=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
    )
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", owner, str(tmp_path)], env=environ, text=True, stdout=subprocess.PIPE
    )
    child = int(done.stdout)
    try:
        with locked(tmp_path):
            assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} on ")
    finally:
        os.kill(child, 9)


def test_a_workdir_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match=r"file.*choose a workdir") as error:
        locked(tmp_path / "file" / "run").__enter__()
    assert "\n" not in str(error.value)


CONFIG = {"lr": 0.1, "model": {"widths": (3, 4), "name": "mlp"}}


@pytest.mark.parametrize(
    "other, message",
    [
        ({"lr": 0.2, "model": CONFIG["model"]}, r"field lr is 0.1 there, 0.2 in this run"),
        (
            {"lr": 0.1, "model": {"widths": (3, 5), "name": "mlp"}},
            r"field model.widths is \[3, 4\] there, \[3, 5\]",
        ),
        ({"model": CONFIG["model"]}, r"field lr exists only in the workdir"),
        (CONFIG | {"new": 1}, r"field new exists only in this run"),
        ({"lr": 0.1, "model": None}, r"field model is \{.* there, None in this run"),
        ({"lr": True, "model": CONFIG["model"]}, r"field lr is 0.1 there, True"),
    ],
)
def test_another_config_is_refused(tmp_path, other, message):
    bind(tmp_path, CONFIG)
    bind(tmp_path, CONFIG)
    with pytest.raises(WorkdirError, match=message):
        fit(
            toy.step,
            toy.state(),
            toy.batches,
            steps=1,
            workdir=tmp_path,
            config=other,
            progress=False,
        )
    assert not (tmp_path / "checkpoints").exists()


def test_a_config_that_is_not_json_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(WorkdirError, match=r"config.json is not JSON"):
        bind(tmp_path, CONFIG)
