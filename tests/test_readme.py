"""The README's code is true."""

import json
import re
from pathlib import Path

import jaxlearn
from experiments.harness import discover, readme

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_composition_of_the_readme_runs_and_learns():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    namespace: dict = {}
    exec(compile(code, "README.md", "exec"), namespace)
    assert float(namespace["metrics"]["accuracy"]) > 0.9
    from jaxlearn.transforms.sparsity import density, masks

    assert abs(float(density(masks(namespace["state"].opt_state))) - 0.2) < 0.01


def test_every_command_of_the_readme_exists():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    targets = set(re.findall(r"^    make ([a-z-]+)", README, re.M))
    assert targets
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.M))


def test_the_claims_of_the_readme_are_those_of_the_results():
    mend = "README and results differ: run `python -m experiments report` and commit README.md"
    assert readme.filled(README, discover.HERE) == README, mend
    rows = dict(re.findall(r"^\| \[?([a-z0-9-]+)\b.*\| ([\w/ ]+) \|$", README, re.M))
    assert rows.keys() >= discover.files().keys()
    kept = sorted(discover.HERE.glob("results/*/small.json"))
    assert kept
    for file in kept:
        claims = json.loads(file.read_text())["claims"]
        failed = [claim["id"] for claim in claims if not claim["holds"]]
        assert rows[file.parent.name] == f"{len(claims) - len(failed)}/{len(claims)}"
        page = file.with_suffix(".md").relative_to(discover.HERE.parent)
        assert f"[{file.parent.name}]({page})" in README
        assert file.with_suffix(".md").exists()


def test_the_version_is_one():
    root = discover.HERE.parent
    declared = re.findall(r'^version = "(.*)"$', (root / "pyproject.toml").read_text(), re.M)
    assert declared == [jaxlearn.__version__]
    assert re.findall(r"^version: (.*)$", (root / "CITATION.cff").read_text(), re.M) == declared
    assert re.findall(r"^## ([\d.]+)", (root / "CHANGELOG.md").read_text(), re.M)[0] == declared[0]
