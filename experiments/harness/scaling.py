"""One step shared by 1, 2, 4 and 8 virtual devices of this machine, in turn.

The batch is the same whole, and so are the cores: what a ratio exceeds 1 by is what sharing costs,
which on a machine with more cores than one device uses may also be less than nothing.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import timing
from experiments.harness.experiment import Program

DEVICES = (1, 2, 4, 8)
ROWS = 2
"""Programs of a bench that are measured: backprop and the one after it."""


def measure(slug: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of `bench --scaling`, measured by a process of its own with eight devices.

    Raises:
        ValueError: when it failed, with the last line that it said.
    """
    count = f"--xla_force_host_platform_device_count={max(DEVICES)}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    done = subprocess.run(
        [sys.executable, "-m", "experiments.harness.scaling", slug, str(folder)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise ValueError(f"{slug} on {max(DEVICES)} devices: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def rows(programs: Mapping[str, Program], devices: Sequence[int] = DEVICES) -> list[dict[str, Any]]:
    """Time every program on every number of devices that divides its batch."""
    from experiments.harness.bench import take_turns

    made = []
    for name, program in programs.items():
        runners = {n: _runner(program, n) for n in devices if _divides(program, n)}
        times = take_turns({str(n): runner for n, runner in runners.items()})
        made += [
            {
                "name": name,
                "devices": n,
                **timing.spread(times[str(n)]),
                "ratio_to_one": timing.ratio(times[str(n)], times[str(devices[0])]),
            }
            for n in runners
        ]
    return made


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


def _main(slug: str, folder: str) -> None:
    from experiments.harness import discover

    bench = discover.load(slug, Path(folder)).bench
    assert bench is not None, "checked by the caller"
    programs = bench().programs
    chosen = {name: programs[name] for name in list(programs)[:ROWS]}
    print(json.dumps(rows(chosen)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
