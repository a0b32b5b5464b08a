"""On a pod the signal of every rule leaves in as few reductions as that of backpropagation."""

import random

import jax
import jax.numpy as jnp
import optax
import pytest

from experiments.harness import Program
from experiments.harness.tpu import compile_program
from jaxlearn.core import MEMORY, make_state, make_step
from jaxlearn.models.tiny import tiny_batch
from tests.batteries.discover import FIRST, RULES, patiently

TX = optax.adam(1e-2)


# programs for a pod take seconds each to compile: a seeded sample, and all under `slow`
@pytest.mark.parametrize("name", patiently(RULES, random.Random(0).sample(FIRST, 8)))
def test_one_all_reduce_per_step(name):
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny_batch(64))
    make = lambda batch: make_state(RULES[name], TX, jax.random.key(0), batch)
    program = Program(make_step(RULES[name], TX), jax.eval_shape(make, batch), batch)
    found = compile_program(program, "v5e:2x2")
    assert found["collectives"]["all-reduce"] == 1
    # what a rule remembers of each example is gathered at once, and nothing else is
    assert found["collectives"]["all-gather"] <= (MEMORY in program.state.state)
    assert sum(found["collectives"].values()) <= 1 + (MEMORY in program.state.state)
    assert jnp.isfinite(found["flops"])
