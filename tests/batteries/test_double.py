"""With 64-bit numbers switched on, every rule and transform takes batches in double precision."""

import pytest

from tests.devices import run_on

CHECK = """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import optax
from jaxlearn import {room}
from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch
from tests.batteries.rooms import examples

def double(leaf):
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if leaf.dtype == np.float32 else leaf

batch = jax.tree.map(double, jax.jit(tiny_batch)())
kind = lambda leaf: (leaf.shape, str(leaf.dtype))
found = examples({room})
for name, one in found.items():
    rule, tx = (one, optax.sgd(0.1)) if "{room}" == "rules" else (backprop, one)
    state = jax.eval_shape(lambda key: make_state(rule, tx, key, batch), jax.random.key(0))
    new, metrics = jax.eval_shape(make_step(rule, tx), state, batch)
    print(name, "loss" in metrics, jax.tree.structure(new) == jax.tree.structure(state))
"""


@pytest.mark.parametrize("room", ["rules", "transforms"])
def test_a_step_in_double_precision_is_traced(room):
    """Of every example; the sequence of one with a recurrent carry among them."""
    code = CHECK.format(room=room)
    if room == "transforms":
        code = code.replace("(backprop, one)", '(examples(rules)["backprop"], one)').replace(
            "from jaxlearn import transforms", "from jaxlearn import rules, transforms"
        )
    lines = run_on(1, code).splitlines()
    assert len(lines) > 10
    assert all(line.endswith("True True") for line in lines), lines
