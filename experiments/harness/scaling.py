"""One step shared by 1, 2, 4 and 8 virtual devices of this machine, in turn.

The batch is the same whole, and so are the cores: what a ratio exceeds 1 by is what sharing costs;
where one device leaves cores idle between its short operations, sharing gains. Every number of
devices has a process of its own: XLA starts a thread per device, and eight of them on two cores
slow a single device down, which made sharing look better than it is.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from experiments.harness import timing
from experiments.harness.experiment import Program

DEVICES = (1, 2, 4, 8)
ROWS = 2
"""Programs of a bench that are measured: backprop and the one after it."""


def measure(slug: str, folder: Path, devices: Sequence[int] = DEVICES) -> list[dict[str, Any]]:
    """Return the rows of `bench --scaling`: each program on each number that divides its batch.

    Raises:
        ValueError: when a process failed, with the last line that it said.
    """
    from experiments.harness.bench import in_turns

    with ExitStack() as stack:
        ask = {n: stack.enter_context(_process(slug, folder, n)) for n in devices}
        shared = {n: ask[n](None) for n in devices}
        names = list(dict.fromkeys(name for n in devices for name in shared[n]))
        places = [(name, n) for name in names for n in devices if name in shared[n]]
        times = in_turns({(name, n): partial(ask[n], name) for name, n in places})
    return [
        {
            "name": name,
            "devices": n,
            **timing.spread(times[name, n]),
            "ratio_to_one": timing.ratio(times[name, n], times[name, devices[0]]),
        }
        for name, n in places
    ]


@contextmanager
def _process(slug: str, folder: Path, devices: int) -> Iterator[Callable[[str | None], Any]]:
    """Start a process with so many devices; `ask(None)` names its programs, `ask(name)` times one.

    What it says on the way goes to a file, which cannot fill up as a pipe does.
    """
    count = f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    words = [sys.executable, "-m", "experiments.harness.scaling", slug, str(folder), str(devices)]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            words,
            env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(name: str | None) -> Any:
            try:
                print(json.dumps(name), file=process.stdin, flush=True)
                answer = process.stdout.readline()
            except BrokenPipeError:
                with suppress(BrokenPipeError):  # what could not be written would be tried again
                    process.stdin.close()
                answer = ""
            if not answer:
                process.wait()
                said.seek(0)
                last = (said.read().strip() or "no reason given").splitlines()[-1]
                raise ValueError(f"{slug} with devices={devices}: {last}")
            return json.loads(answer)

        try:
            yield ask
        finally:
            process.kill()


def _runner(program: Program, devices: int) -> timing.Runner:
    """Do one step over so many devices, the state carried on as in training."""
    import jax

    from jaxlearn.runtime import data_mesh, data_parallel, distribute, place

    mesh = data_mesh(jax.devices()[:devices])
    step, batch = data_parallel(program.step, mesh), place(program.batch, mesh)
    carried = [distribute(program.state, mesh)]

    def runner() -> object:
        carried[0], metrics = step(carried[0], batch)
        return metrics

    return runner


def _divides(program: Program, devices: int) -> bool:
    from jaxlearn.core.trees import batch_size

    return batch_size(program.batch) % devices == 0


def _main(slug: str, folder: str, devices: int) -> None:
    """Answer the questions of `_process` until there are no more."""
    from experiments.harness import discover
    from jaxlearn.runtime import keep_memory

    # libraries print, too: the answers keep standard output for themselves
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    keep_memory()
    bench = discover.load(slug, Path(folder)).bench
    assert bench is not None, "checked by the caller"
    programs = bench().programs
    samples = {
        name: timing.sampler(_runner(programs[name], devices))
        for name in list(programs)[:ROWS]
        if _divides(programs[name], devices)
    }
    for line in sys.stdin:
        name = json.loads(line)
        found = list(samples) if name is None else samples[name]()
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
