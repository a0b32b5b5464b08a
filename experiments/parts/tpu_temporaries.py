"""What a step needs beside its arguments on a TPU that is not here."""

import os
from importlib.util import find_spec

from experiments.harness import Program
from experiments.harness.tpu import ENVIRONMENT, tpu_memory


def tpu_temporaries(program: Program) -> int | None:
    """Temp bytes on one TPU v5e chip, None where its compiler is not installed."""
    if find_spec("libtpu") is None:
        return None
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    return tpu_memory(program.step, program.state, program.batch)
