"""Finds every method of a room through its public `examples()`."""

import importlib
import pkgutil
from types import ModuleType

import optax
import pytest

from jaxlearn import models, parametrizations, rules, transforms


def modules(room: ModuleType) -> list[ModuleType]:
    """The modules of a package, those of its sub-packages included."""
    names = [m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
    return [importlib.import_module(name) for name in sorted(names)]


def first_examples(room: ModuleType) -> list[str]:
    """The name of one example of every module that has any."""
    found = (list(getattr(module, "examples", dict)()) for module in modules(room))
    return [names[0] for names in found if names]


def examples(room: ModuleType) -> dict[str, object]:
    """All examples of a room by name; two methods may not share a name."""
    found: dict[str, object] = {}
    for module in modules(room):
        for name, example in getattr(module, "examples", dict)().items():
            assert name not in found, f"two examples are called {name}"
            found[name] = example
    return found


RULES = examples(rules)
PARAMETRIZATIONS = examples(parametrizations)
TRANSFORMS = {"sgd": optax.sgd(0.1), "adam": optax.adam(1e-2)} | examples(transforms)
MODELS = examples(models)

FIRST = first_examples(rules)
EVERY_RULE = [
    pytest.param(name, marks=() if name in FIRST else pytest.mark.slow, id=name) for name in RULES
]
"""For tests that compile: one example of every method, and all the others where time allows."""
