"""Memory of one training step at batch 1024, as compiled for one TPU v5e chip and for this CPU.

    python -m experiments._auglocal_memory

Writes `experiments/results/auglocal/memory.json`: temp bytes of ResNet-32 and ResNet-110 under
backprop, checkpointed backprop and AugLocal (heads of depth 2). The CPU's figures are reported
only: its compiler drops optimisation barriers and recomputation around convolutions.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.harness.tpu import ENVIRONMENT, tpu_memory

NETWORKS = {"resnet-32": (5, 5, 5), "resnet-110": (18, 18, 18)}
WAYS: dict[str, dict[str, Any]] = {
    "backprop": {"method": "backprop"},
    "checkpointed backprop": {"method": "checkpoint"},
    "auglocal": {"method": "auglocal", "loop": False},
    "auglocal, equal modules in a loop": {"method": "auglocal", "loop": True},
}


def measure(network: str, way: str, target: str) -> int:
    """Temp bytes of one step on "tpu" or "cpu"."""
    import jax

    from experiments.auglocal import Config, program

    made = program(replace(Config(blocks=NETWORKS[network], depth=2), **WAYS[way]))
    if target == "tpu":
        return tpu_memory(made.step, made.state, made.batch)
    lowered = jax.jit(made.step, donate_argnums=0).lower(made.state, made.batch)
    memory: Any = lowered.compile().memory_analysis()
    return int(memory.temp_size_in_bytes)


def cells(chosen: list[str]) -> Iterator[tuple[str, str, str]]:
    """Every (network, target, way) whose words contain all of `chosen`."""
    for network in NETWORKS:
        for target in ("tpu", "cpu"):
            for way in WAYS:
                if all(word in (network, target, way) for word in chosen):
                    yield network, target, way


def write(path: Path, chosen: list[str]) -> None:
    """Measure the chosen cells and put them into the file, one by one as they are found."""
    for network, target, way in cells(chosen):
        found = json.loads(path.read_text()) if path.exists() else {}
        start = time.monotonic()
        size = measure(network, way, target)
        found.setdefault(network, {}).setdefault(target, {})[way] = round(size / 2**20, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"unit": "MiB of temporaries", **found}, indent=1) + "\n")
        print(f"{network} {target} {way}: {size / 2**20:.1f} MiB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    write(Path(__file__).parent / "results/auglocal/memory.json", sys.argv[1:])
