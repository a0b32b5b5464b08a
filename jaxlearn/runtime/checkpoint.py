"""Checkpoints that are trusted only with the digest of every file.

`folder/STEP/` holds `arrays/` (orbax), `notes.json` (kinds of the arrays, the caller's notes) and
`digest.json`. A step is written under another name and renamed when it is whole, so that a kill
at any moment leaves the steps before it as they were.
"""

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from jaxlearn.core.contracts import PyTree
from jaxlearn.runtime import arrays, digest
from jaxlearn.runtime.files import replace_text, sync_folder
from jaxlearn.runtime.processes import on_first

DRAFT = ".draft"
DAMAGED = ".damaged"


class CheckpointError(ValueError):
    """A checkpoint that cannot be written, trusted or fitted to the run."""


class Saved(NamedTuple):
    """A trusted checkpoint.

    Attributes:
        step: its step.
        tree: the arrays.
        notes: what the caller noted beside them.
    """

    step: int
    tree: PyTree
    notes: dict[str, Any]


def steps(folder: str | Path) -> list[int]:
    """The steps in the folder, whole or damaged, in order."""
    found = Path(folder)
    names = (entry.name for entry in found.iterdir()) if found.is_dir() else ()
    return sorted(int(name) for name in names if name.isdigit())


def save(
    folder: str | Path, step: int, tree: PyTree, notes: dict[str, Any] | None = None, keep: int = 2
) -> None:
    """Write a checkpoint, then drop all but the newest `keep`.

    Args:
        folder: of all checkpoints of the run.
        step: the name of this one; one of the same step is replaced.
        tree: arrays and typed keys, on any devices. All processes of a run call this together.
        notes: anything JSON can say.
        keep: at least 2, so that there is one to fall back to.

    Raises:
        CheckpointError: when it cannot be written (a full disk); older ones are as they were.
    """
    folder = Path(folder)
    if keep < 2:
        raise ValueError(f"keep={keep} leaves nothing to fall back to; use 2 or more")
    draft = folder / f"{step}{DRAFT}"
    try:
        on_first(lambda: _clear(folder, arrays.space(tree)))
        arrays.write(draft / "arrays", tree)
        about = {"notes": notes or {}, "arrays": arrays.kinds(tree)}
        on_first(lambda: _commit(draft, folder / str(step), about))
    except Exception as error:
        if not _is_disk(error):
            raise
        shutil.rmtree(draft, ignore_errors=True)
        raise CheckpointError(
            f"step {step} could not be saved in {folder}: {_reason(error)}; "
            "free some space and start again, the checkpoints before it are whole"
        ) from error
    on_first(lambda: _prune(folder, keep))


def restore(folder: str | Path, like: Callable[[dict[str, Any]], PyTree]) -> Saved | None:
    """The newest checkpoint that can be trusted; `None` when there is none at all.

    A damaged one is reported by one warning that names its step and file, set aside under the name
    `STEP.damaged`, and the one before it is used.

    Args:
        folder: of all checkpoints of the run.
        like: `like(notes)` is a tree with the structure, shapes, dtypes and devices to restore to.

    Raises:
        CheckpointError: when all are damaged (nothing is touched), or a leaf is missing, left over,
            or of another shape or dtype.
    """
    folder = Path(folder)
    step = on_first(lambda: _trusted(folder))
    if step < 0:
        return None
    about = json.loads((folder / str(step) / "notes.json").read_text())
    wanted = like(about["notes"])
    if found := arrays.difference(about["arrays"], arrays.kinds(wanted)):
        raise CheckpointError(
            f"the checkpoint of step {step} in {folder} is of another state: {found}"
        )
    return Saved(step, arrays.read(folder / str(step) / "arrays", wanted), about["notes"])


def _trusted(folder: Path) -> int:
    faults = {}
    for step in reversed(steps(folder)):
        faults[step] = digest.fault(folder / str(step))
        if not faults[step]:
            break
    damaged = [step for step, found in faults.items() if found]
    if damaged and len(damaged) == len(faults):
        raise CheckpointError(
            f"all checkpoints in {folder} are damaged ("
            + ", ".join(f"step {step}: {faults[step]}" for step in damaged)
            + "); nothing was deleted, choose another workdir to start anew"
        )
    for step in damaged:
        warnings.warn(
            f"checkpoint of step {step} in {folder} is damaged ({faults[step]}); "
            "using the one before it",
            stacklevel=4,
        )
        _set_aside(folder / str(step))
    return next((step for step, found in faults.items() if not found), -1)


def _set_aside(place: Path) -> None:
    aside = place.with_name(place.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    place.rename(aside)


def _clear(folder: Path, space: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"*{DRAFT}"):
        shutil.rmtree(left)
    # orbax says pages where the disk is full in the midst of its threads
    if shutil.disk_usage(folder).free < space:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _commit(draft: Path, place: Path, about: dict[str, Any]) -> None:
    replace_text(draft / "notes.json", json.dumps(about, indent=1))
    digest.write(draft)
    if place.exists():
        old = place.with_name(f"{place.name}.old{DRAFT}")
        shutil.rmtree(old, ignore_errors=True)
        place.rename(old)
    draft.rename(place)
    sync_folder(place.parent)


def _prune(folder: Path, keep: int) -> None:
    for step in steps(folder)[:-keep]:
        # without its digest a step that is half deleted is not trusted
        (folder / str(step) / digest.NAME).unlink(missing_ok=True)
        shutil.rmtree(folder / str(step), ignore_errors=True)
    for left in folder.glob(f"*.old{DRAFT}"):
        shutil.rmtree(left, ignore_errors=True)


def _is_disk(error: Exception) -> bool:
    return isinstance(error, OSError) or "No space left" in str(error)


def _reason(error: Exception) -> str:
    if "No space left" in str(error):
        return "no space left on the disk"
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
