"""Where a figure was measured: versions, hardware, revision; no names of hosts or folders."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str | int | None]:
    """Return the `environment` of the JSON outputs. Imports JAX."""
    import jax

    devices = jax.devices()
    return {
        "date": datetime.date.today().isoformat(),
        "revision": revision(),
        "python": platform.python_version(),
        "jax": metadata.version("jax"),
        "jaxlib": metadata.version("jaxlib"),
        "platform": devices[0].platform,
        "devices": f"{len(devices)} × {devices[0].device_kind}",
        "machine": processor(),
        "cpus": os.cpu_count(),
    }


def revision() -> str | None:
    """Return the short git revision of the source, with "+" when it has been edited since."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout.strip()

    try:
        edited = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if edited else "")
    except (OSError, subprocess.SubprocessError):
        return None


def processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model name of the processor."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
