"""Finds every method of a room through its public `examples()`."""

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

import optax
import pytest

from jaxlearn import models, parametrizations, rules, transforms


def modules(room: ModuleType) -> list[ModuleType]:
    """The modules of a package, those of its sub-packages included."""
    names = [m.name for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".")]
    return [importlib.import_module(name) for name in sorted(names)]


def first_examples(room: ModuleType, hook: str = "examples") -> list[str]:
    """The name of one example of every module that has any."""
    found = (list(getattr(module, hook, dict)()) for module in modules(room))
    return [names[0] for names in found if names]


def examples(room: ModuleType, hook: str = "examples", **options: bool) -> dict[str, object]:
    """All examples of a room by name; two methods may not share a name."""
    found: dict[str, object] = {}
    for module in modules(room):
        for name, example in getattr(module, hook, lambda **_: {})(**options).items():
            assert name not in found, f"two examples are called {name}"
            found[name] = example
    return found


RULES = examples(rules)
PARAMETRIZATIONS = examples(parametrizations)
TRANSFORMS = {"sgd": optax.sgd(0.03), "adam": optax.adam(1e-2)} | examples(transforms)
MODELS = examples(models)
NEURONS = examples(models, "neuron_examples")
"""Pairs of layers, for one step and for all steps at once."""
CUT_NEURONS = examples(models, "neuron_examples", detach_carry=True)
"""The same, whose carry is a constant in the backward pass."""


def patiently(names: Iterable[str], first: list[str]) -> list:
    """For tests that compile: one example of every method, and all the others where time allows."""
    mark = lambda name: () if name in first else pytest.mark.slow
    return [pytest.param(name, marks=mark(name), id=name) for name in names]


FIRST = first_examples(rules)
EVERY_RULE = patiently(RULES, FIRST)
FIRST_MODELS = first_examples(models)
EVERY_NEURON = patiently(NEURONS, first_examples(models, "neuron_examples"))
