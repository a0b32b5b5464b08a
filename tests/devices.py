"""Processes with as many virtual CPU devices as wanted; their number is set before JAX starts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def environment(devices: int) -> dict[str, str]:
    """The environment of this process with so many virtual devices."""
    count = f"--xla_force_host_platform_device_count={devices}"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {count}".strip()
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def run_on(devices: int, code: str) -> str:
    """What a piece of Python prints on so many virtual devices; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
