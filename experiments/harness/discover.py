"""Which experiments there are: the files of a folder, imported only when asked for."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from experiments.harness.experiment import Experiment

HERE = Path(__file__).resolve().parent.parent
"""The folder of the experiments of this package."""


def files(folder: Path = HERE) -> dict[str, Path]:
    """Return slug → file of every experiment in `folder`, sorted; `_private.py` files are none."""
    paths = sorted(folder.glob("*.py"))
    return {p.stem.replace("_", "-"): p for p in paths if not p.name.startswith("_")}


def find(slug: str, folder: Path = HERE) -> Path:
    """Return the file of `slug`; ValueError suggests the nearest slug."""
    known = files(folder)
    if slug not in known:
        raise ValueError(unknown("experiment", slug, known))
    return known[slug]


def unknown(kind: str, name: str, known: Iterable[str], show: int = 8) -> str:
    """Return the line about an unknown name, with the nearest known one or the first few.

    >>> unknown("preset", "smal", ["smoke", "small", "paper"])
    "unknown preset 'smal'; did you mean 'small'?"
    >>> unknown("preset", "xyz", ["smoke", "small"])
    "unknown preset 'xyz'; known: smoke, small"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    short = name if len(name) <= 60 else name[:57] + "..."
    if near:
        return f"unknown {kind} {short!r}; did you mean {near[0]!r}?"
    more = ", …" if len(known) > show else ""
    return f"unknown {kind} {short!r}; known: {', '.join(known[:show]) or 'none'}{more}"


def load(slug: str, folder: Path = HERE) -> Experiment:
    """Import the file of `slug` and return its EXPERIMENT; ValueError if it defines none."""
    path = find(slug, folder)
    experiment = getattr(_module(path), "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{path.name} defines no EXPERIMENT = Experiment(...)")
    if experiment.slug != slug:
        raise ValueError(f"{path.name} calls itself {experiment.slug!r}; expected {slug!r}")
    return experiment


def _module(path: Path) -> ModuleType:
    if path.parent == HERE:
        return importlib.import_module(f"experiments.{path.stem}")
    name = f"experiment_in_{abs(hash(path.parent))}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path.name} cannot be imported")
        # dataclasses look their module up by name while the class body runs
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
