"""Every step that was compiled for a pod, as one table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.harness import chips, store

HEADER = [
    "experiment",
    "topology",
    "chips",
    "arguments, MB",
    "temporaries, MB",
    "of the chip's memory",
    "TFLOP",
    "kernels",
    "all-reduces",
    "reduced, MB",
    "communication",
]


def compiled(folder: Path) -> list[dict[str, Any]]:
    """What `compile` kept in a folder of results, the usual topology first."""
    return [store.read(file) for file in sorted(folder.glob("compile*.json"), key=_order)]


def slice_of(found: Mapping[str, Any]) -> str:
    """Where a step was compiled for.

    >>> slice_of({"topology": "v5e:16x16", "devices": 256, "model": 4})
    'v5e:16x16, 4 to a copy of the state'
    """
    return found["topology"] + (
        f", {found['model']} to a copy of the state" if "model" in found else ""
    )


def grid(folders: list[Path]) -> list[list[str]]:
    """Header and rows; communication is the share of the step it takes if nothing overlaps."""
    return [HEADER, *(_row(found) for folder in folders for found in compiled(folder))]


def _row(found: Mapping[str, Any]) -> list[str]:
    share = chips.communication(found)
    chip = chips.CHIPS.get(found["topology"].partition(":")[0])
    held = found["argument_bytes"] + found["temp_bytes"]
    reduced = found.get("collective_bytes", {}).get("all-reduce")
    return [
        found["slug"],
        slice_of(found),
        str(found["devices"]),
        f"{found['argument_bytes'] / 1e6:.1f}",
        f"{found['temp_bytes'] / 1e6:.1f}",
        f"{held / chip.capacity:.1%}" if chip else "",
        f"{found['flops'] / 1e12:.3g}",
        str(found.get("kernels", "")),
        str(found["collectives"]["all-reduce"]),
        "" if reduced is None else f"{reduced / 1e6:.2f}",
        "" if share is None else f"{share:.1%}",
    ]


def _order(file: Path) -> tuple[bool, str]:
    return file.stem != "compile", file.stem
