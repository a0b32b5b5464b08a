"""The README's code is true."""

import re
from pathlib import Path

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
