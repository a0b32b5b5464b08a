"""Memory of one training step at batch 1024, as compiled for one TPU v5e chip and for this CPU.

    python -m experiments._auglocal_memory                    # the cells that are missing
    python -m experiments._auglocal_memory resnet-110 tpu     # these, whether missing or not

Writes `experiments/results/auglocal/memory.json`: of ResNet-32 and ResNet-110 under backprop,
checkpointed backprop and AugLocal (heads of depth 2) the MiB of temporaries, and the operations of
the step as it is written in 10^9, which show what checkpointing and heads cost. Each cell says when
and with what it was found. The CPU's figures are reported only: its compiler drops optimisation
barriers and recomputation around convolutions.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from experiments.harness import flops
from experiments.harness.environment import describe
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

    made = _program(network, **WAYS[way])
    if target == "tpu":
        return tpu_memory(made.step, made.state, made.batch)
    lowered = jax.jit(made.step, donate_argnums=0).lower(made.state, made.batch)
    memory: Any = lowered.compile().memory_analysis()
    return int(memory.temp_size_in_bytes)


@cache
def operations(network: str, method: str) -> float:
    """Floating-point operations of a step as it is written, in 10^9, recomputation included."""
    made = _program(network, method=method)
    return flops.count(made.step, made.state, made.batch) / 1e9


def _program(network: str, **way: Any) -> Any:
    from experiments.auglocal import Config, program

    return program(replace(Config(blocks=NETWORKS[network], depths=(2,), depth=2), **way))


def cells(chosen: list[str], found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every (network, target, way) whose words contain all of `chosen`; for no words those that
    `found` does not have with all that is known of a cell today.
    """
    for network in NETWORKS:
        for target in ("tpu", "cpu"):
            for way in WAYS:
                cell = found.get(network, {}).get(target, {}).get(way)
                there = isinstance(cell, dict) and not chosen
                if not there and all(word in (network, target, way) for word in chosen):
                    yield network, target, way


def write(path: Path, chosen: list[str]) -> None:
    """Measure the chosen cells and put them into the file, one by one as they are found."""
    found = json.loads(path.read_text()) if path.exists() else {}
    for network, target, way in list(cells(chosen, found)):
        start = time.monotonic()
        size = measure(network, way, target)
        found = json.loads(path.read_text()) if path.exists() else {}
        found.setdefault(network, {}).setdefault(target, {})[way] = {
            "mib": round(size / 2**20, 1),
            "gflop": round(operations(network, WAYS[way]["method"]), 1),
            **{name: describe()[name] for name in ("date", "revision", "jax", "jaxlib")},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        unit = {"unit": "MiB of temporaries, 10^9 operations as written"}
        path.write_text(json.dumps(found | unit, indent=1) + "\n")
        print(f"{network} {target} {way}: {size / 2**20:.1f} MiB, {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    write(Path(__file__).parent / "results/auglocal/memory.json", sys.argv[1:])
