"""The table of precisions: two rows of a rule differ in nothing but the type of their products."""

import re

import jax
import jax.numpy as jnp
import pytest

from experiments import precision
from jaxlearn.models.tiny import tiny_batch

SMOKE = precision.PRESETS["smoke"]
ROWS = {row.name: row.config for row in precision.rows(SMOKE)}


@pytest.mark.parametrize("method", precision.METHODS)
def test_rows_of_a_rule_start_alike_and_keep_float32(method):
    batch = tiny_batch()
    made = [
        precision.rule_of(ROWS[f"{method}, {compute}"], 2, 8).init(jax.random.key(0), batch)
        for compute in ("float32", "bfloat16")
    ]
    jax.tree.map(lambda a, b: (a == b).all() or pytest.fail("differ"), *made)
    for leaf in jax.tree.leaves(made):
        assert leaf.dtype in (jnp.float32, jnp.int32)


@pytest.mark.parametrize("method", precision.METHODS)
def test_only_the_bfloat16_row_multiplies_in_bfloat16(method):
    found = {}
    for compute in ("float32", "bfloat16"):
        made = precision._program(ROWS[f"{method}, {compute}"], 2, 8, 16)
        text = str(jax.make_jaxpr(made.step)(made.state, made.batch))
        found[compute] = re.findall(r"bf16\[[\d,]*\] = dot_general", text)
    # three layers forward, and backward all products but the one for the gradient of the input
    assert not found["float32"]
    assert len(found["bfloat16"]) >= 8


def test_wrong_words_are_refused():
    with pytest.raises(ValueError, match=r"compute='float16' is none of"):
        precision.Config(compute="float16")
    with pytest.raises(ValueError, match=r"method='greedy' is none of"):
        precision.Config(method="greedy")
    with pytest.raises(ValueError, match=r"dataset='cifar10' is none of"):
        precision.Config(dataset="cifar10")
