"""Starting the processes of a pod, and letting one of them act for all."""

import os
import sys
import threading
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxlearn.core.contracts import Batch
from jaxlearn.data.batches import count, own_slice, take
from jaxlearn.runtime import roll_call

COORDINATOR = "JAXLEARN_COORDINATOR"
PROCESSES = "JAXLEARN_PROCESSES"
PROCESS_ID = "JAXLEARN_PROCESS_ID"
TIMEOUT = "JAXLEARN_START_TIMEOUT"
HEARTBEAT = 40
"""Seconds without a sign of life after which a process counts as dead, and the others end."""


def start(environ: Mapping[str, str] | None = None, *, timeout: int | None = None) -> int:
    """Join the other processes of this run, if there are any, and return this one's index.

    With `JAXLEARN_COORDINATOR` (host:port), `JAXLEARN_PROCESSES` and `JAXLEARN_PROCESS_ID` in the
    environment these are used; under SLURM, Open MPI, GKE or on a TPU VM with several workers JAX
    finds them itself; otherwise this does nothing. To be called before any other use of JAX.

    Args:
        environ: the environment, `os.environ` by default.
        timeout: seconds to wait for the others; `JAXLEARN_START_TIMEOUT` or 300 by default.

    Raises:
        ValueError: when only some of the three variables are set, or one is not a number.

    When not all processes came in time, this process says so in one line and exits with status 2;
    with the three variables the line names those that are missing.
    """
    environ = os.environ if environ is None else environ
    timeout = timeout or _number(environ, TIMEOUT, "300")
    arguments = _explicit(environ)
    if arguments is None and not _launched(environ):
        return 0
    if arguments:
        _call_the_roll(**arguments, timeout=timeout)
    # without gloo the CPU backend has no collectives between processes
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    expected = (arguments or {}).get("num_processes", environ.get("SLURM_NTASKS", "all"))
    # jax aborts the whole process when its own time is up, so ours has to be up before
    watch = threading.Timer(timeout, _give_up, (expected, timeout))
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(
            **(arguments or {}),
            initialization_timeout=timeout + 60,
            heartbeat_timeout_seconds=HEARTBEAT,
        )
    finally:
        watch.cancel()
    return jax.process_index()


def on_first(action: Callable[[], int | None]) -> int:
    """Run `action` on process 0 only; every process waits for it and returns its number.

    Raises:
        RuntimeError: on the other processes, when it failed on process 0 (which raises its error).
    """
    if jax.process_count() == 1:
        return action() or 0
    outcome, failure = -1, None
    if jax.process_index() == 0:
        try:
            outcome = action() or 0
        except Exception as error:  # passed on below, after the others know
            failure = error
    message = np.array([failure is not None, outcome], np.int32)
    failed, outcome = multihost_utils.broadcast_one_to_all(message).tolist()
    if failure is not None:
        raise failure
    if failed:
        raise RuntimeError("process 0 failed; its own message says why")
    return int(outcome)


def own_rows(whole: Callable[[int], Batch]) -> Callable[[int], Batch]:
    """This process's rows of every global batch: the process i of n takes the i-th of n parts.

    The parts put end to end are the global batch, so a training does not depend on how many
    processes share it. A `"context"` stays whole.

    Args:
        whole: the global batch of a step, the same on every process.

    Raises:
        ValueError: while taking, when the processes cannot share a batch evenly.
    """
    index, processes = jax.process_index(), jax.process_count()
    if processes == 1:
        return whole

    def at(step: int) -> Batch:
        batch = whole(step)
        return take(batch, own_slice(count(batch), index, processes))

    return at


def _call_the_roll(
    coordinator_address: str, num_processes: int, process_id: int, timeout: int
) -> None:
    missing = roll_call.absent(coordinator_address, num_processes, process_id, timeout)
    if missing == [0] and process_id:
        _say_late(
            num_processes, timeout, f"process 0 is not to be reached at {coordinator_address}"
        )
        raise SystemExit(2)
    if missing:
        names = ", ".join(map(str, missing[:20])) + ", …" * (len(missing) > 20)
        found = f"{num_processes - len(missing)} came, missing: {names}"
        _say_late(num_processes, timeout, found)
        raise SystemExit(2)


def _give_up(expected: object, timeout: int) -> None:
    _say_late(expected, timeout, "not all of them came")
    # the main thread is inside of jax and hears of nothing
    os._exit(2)


def _say_late(expected: object, timeout: int, found: str) -> None:
    line = (
        f"start: expected {expected} processes within {timeout} s, {found}; "
        f"start every process, or raise {TIMEOUT}\n"
    )
    os.write(sys.stderr.fileno(), line.encode())


def _explicit(environ: Mapping[str, str]) -> dict | None:
    names = (COORDINATOR, PROCESSES, PROCESS_ID)
    missing = [name for name in names if name not in environ]
    if len(missing) == len(names):
        return None
    if missing:
        raise ValueError(f"{', '.join(missing)} not set; set all of {', '.join(names)} or none")
    return {
        "coordinator_address": environ[COORDINATOR],
        "num_processes": _number(environ, PROCESSES),
        "process_id": _number(environ, PROCESS_ID),
    }


def _launched(environ: Mapping[str, str]) -> bool:
    workers = environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    ranks = (environ.get(name, "1") for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    return (
        len(workers) > 1
        or "MEGASCALE_COORDINATOR_ADDRESS" in environ
        or any(size.isdigit() and int(size) > 1 for size in ranks)
    )


def _number(environ: Mapping[str, str], name: str, default: str = "") -> int:
    text = environ.get(name, default)
    if not text.isdigit():
        raise ValueError(f"{name}={text!r} is not a number; set it to a whole number")
    return int(text)
