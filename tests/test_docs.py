"""The code of every guide runs, and what the guides name exists."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")


SLOTS = {"models", "parametrizations", "rules", "transforms", "procedures"}


def test_every_slot_has_a_guide_and_so_have_kernels_experiments_and_pods():
    assert {path.stem for path in GUIDES} >= SLOTS | {"kernels", "experiments", "pods"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_ends_with_code_that_checks_itself(guide):
    opened, last = re.findall(r"^```(\w+)\n(.*?)^```$", guide.read_text(), re.S | re.M)[-1]
    assert opened == "python"
    assert guide.read_text().endswith(f"{last}```\n")
    assert re.search(r"^\s*(assert |np\.testing\.)", last, re.M)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_code_of_a_guide_runs(guide, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), re.S)
    assert blocks
    module = ModuleType(f"guide_{guide.stem}")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile("\n".join(blocks), guide.name, "exec"), module.__dict__)


def test_every_guide_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    assert set(re.findall(r"\(([a-z]+\.md)\)", index)) == {path.name for path in GUIDES}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_paths_of_a_guide_exist(guide):
    named = re.findall(r"`((?:jaxlearn|kernels|experiments|tests)/[\w./-]*)", guide.read_text())
    missing = [name for name in named if not (ROOT / name).exists()]
    assert not missing
