import json
import socket
import subprocess
import sys

PROCESS = """
import sys
from pathlib import Path
import jax
address, index, folder, workdir = sys.argv[1:]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(address, 2, int(index))
from experiments.harness.cli import command
words = ["table", "tiny-quadratic", "--json", "--workdir", workdir]
sys.exit(command(words, Path(folder)))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_train_together_and_one_keeps_the_table(harness, tmp_path):
    """Their folders are apart, as on machines without shared storage; one of them has results."""
    alone = harness("table", "tiny-quadratic", "--seeds", "1", "--json")[1]
    harness.calls()
    address = f"127.0.0.1:{free_port()}"
    other = tmp_path / "other"
    (other / "tiny-quadratic").mkdir(parents=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(index), str(harness.folder), str(workdir)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for index, workdir in enumerate([harness.workdir, other])
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]

    made = json.loads(printed[0])
    assert printed[1] == ""
    assert made["seeds"] == [0, 1, 2]
    assert json.loads(alone)["rows"][0]["metrics"]["loss"]["n"] == 1
    missing = ["0.1 1", "0.1 2", "0.4 1", "0.4 2"]
    assert harness.calls() == missing
    assert (other / "tiny-quadratic" / "calls.txt").read_text().splitlines() == missing
    assert list(other.glob("**/result.json")) == []
