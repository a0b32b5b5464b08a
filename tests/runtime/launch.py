"""Starting the worker in other processes, with as many devices as wanted."""

import json
import os
import socket
import subprocess
import sys
from typing import Any

from tests.devices import environment


def worker(workdir: Any, steps: int, save_every: int, devices: int = 1, **env: str):
    environ = environment(devices) | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    command = [sys.executable, "-m", "tests.runtime.worker", workdir, steps, save_every]
    return subprocess.Popen(
        [str(word) for word in command],
        env=environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pod(workdir: Any, steps: int, save_every: int, present: int = 2, **env: str):
    """Two processes with two devices each, of which only the first `present` are started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    return [
        worker(
            workdir,
            steps,
            save_every,
            2,
            JAXLEARN_COORDINATOR=address,
            JAXLEARN_PROCESSES="2",
            JAXLEARN_PROCESS_ID=str(index),
            **env,
        )
        for index in range(present)
    ]


def result(process: subprocess.Popen, timeout: float = 120) -> dict[str, Any]:
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])
