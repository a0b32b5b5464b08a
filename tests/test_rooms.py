"""Arrows between the rooms point one way, and no room is called utils."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# what a room may import, itself aside
MAY_IMPORT = {
    "core": set(),
    "data": {"core"},
    "objectives": {"core"},
    "models": {"core", "objectives"},
    "parametrizations": {"core", "models", "objectives"},
    "transforms": {"core", "models", "objectives"},
    "rules": {"core", "models", "objectives", "data"},
    "runtime": {"core", "data"},
    "procedures": {
        "core",
        "models",
        "objectives",
        "rules",
        "transforms",
        "parametrizations",
        "runtime",
        "data",
    },
}


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def files(folder: str) -> list[Path]:
    """The source files below a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_before_it(room):
    for path in files(f"jaxlearn/{room}"):
        rooms = {n.split(".")[1] for n in imported(path) if n.startswith("jaxlearn.")}
        assert rooms & MAY_IMPORT.keys() <= MAY_IMPORT[room] | {room}, path


def test_the_library_imports_neither_experiments_nor_tests():
    for path in files("jaxlearn") + files("kernels"):
        assert not {n.split(".")[0] for n in imported(path)} & {"experiments", "tests"}, path


def test_the_kernels_need_only_jax():
    allowed = {"jax", "jaxlearn_kernels"}
    standard = {"argparse", "collections", "dataclasses", "functools", "itertools", "math", "time"}
    standard |= {"statistics", "typing", "os", "sys", "json"}
    for path in files("kernels"):
        assert {n.split(".")[0] for n in imported(path)} <= allowed | standard, path


def test_no_private_names_of_other_files_and_no_utils():
    for folder in ("jaxlearn", "kernels", "experiments"):
        for path in files(folder):
            assert path.stem != "utils", path
            private = [n for n in imported(path) if n.split(".")[-1].startswith("_")]
            assert not [n for n in private if not n.endswith("__")], path
