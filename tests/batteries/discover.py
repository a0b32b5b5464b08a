"""All methods of all rooms, found through their public `examples()`."""

from collections.abc import Iterable

import optax
import pytest

from jaxlearn import models, parametrizations, rules, transforms
from tests.batteries.rooms import examples, first_examples

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
