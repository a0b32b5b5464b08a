"""One network for all rules, costs from the compiler, and claims that can fail."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import pytest

from experiments import local_learning
from experiments.harness import Measured
from experiments.parts.local_rules import RULES, rule_of
from jaxlearn.core import trees

BATCH = {
    "inputs": jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.float32),
    "labels": jax.ShapeDtypeStruct((8,), jnp.int32),
    "index": jax.ShapeDtypeStruct((8,), jnp.int32),
}


def shapes(name, layers=3, width=6):
    """Parameters by path of a rule over images of 64 pixels."""
    rule = rule_of(name, layers, width, pixels=64)
    params, _ = jax.eval_shape(rule.init, jax.random.key(0), BATCH)
    return {trees.path(keys): leaf.shape for keys, leaf in jax.tree.leaves_with_path(params)}


def hidden(found):
    """The shapes of the hidden layers' weights, whatever their names."""
    heads = ("heads", "readout")
    return sorted(shape for path, shape in found.items() if not path.startswith(heads))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_teaches_the_same_hidden_layers(name):
    if name == "readout alone":
        assert sorted(shapes(name).values()) == [(6, 10), (10,)]
        return
    expected = [(6,), (6,), (6,), (6, 6), (6, 6), (64, 6)]
    found = hidden(shapes(name))
    assert [shape for shape in found if 10 not in shape] == expected


@pytest.mark.parametrize("name", local_learning.ISOLATED)
def test_rules_said_to_be_isolated_compile_one_body_for_all_equal_layers(name):
    """Twice the layers, and the program is as long as before."""

    def lines(layers):
        rule = rule_of(name, layers, 6, pixels=64, loop=True)
        given = jax.eval_shape(rule.init, jax.random.key(0), BATCH)
        traced = jax.make_jaxpr(lambda p, s, b: rule.signal(p, s, b, jax.random.key(0)))
        return count(traced(*given, BATCH).jaxpr, "dot_general")

    assert lines(6) == lines(12)


@pytest.mark.parametrize("name", [*local_learning.ISOLATED, "forward-forward, unsupervised"])
def test_layers_in_a_loop_learn_the_same(name):
    key = jax.random.key(0)
    x = jax.random.uniform(key, (8, 8, 8, 1))
    batch = {"inputs": x, "labels": jnp.arange(8) % 10, "index": jnp.arange(8)}
    plain, looped = (rule_of(name, 4, 6, pixels=64, loop=loop) for loop in (False, True))
    (expected, losses), (found, others) = (
        (grads, metrics)
        for r in (plain, looped)
        for grads, _, metrics in [jax.jit(r.signal)(*r.init(key, batch), batch, key)]
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_close(others, losses, rtol=1e-4, atol=1e-6)


def test_recomputation_counts_as_operations():
    """Checkpointed layers are computed once more: the forward pass of every hidden layer."""
    layers, width, size, pixels = 4, 64, 128, 64
    config = local_learning.Config(
        dataset="digits", train=None, cost_width=width, cost_batch=size, depths=()
    )
    plain, lean = (
        local_learning.operations(replace(config, method=name), layers)
        for name in ("backprop", "checkpointed backprop")
    )
    forward = 2 * size * width * (pixels + (layers - 1) * width)
    assert lean - plain == pytest.approx(forward, rel=0.05)
    # forward and two products backward, one in the first layer
    assert plain == pytest.approx(3 * forward - 2 * size * width * pixels, rel=0.1)


def count(jaxpr, primitive):
    """Equations of a kind, those of inner programs included."""
    total = 0
    for equation in jaxpr.eqns:
        total += equation.primitive.name == primitive
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=is_program):
            if is_program(value):
                total += count(getattr(value, "jaxpr", value), primitive)
    return total


def is_program(value):
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")


def measured(flat):
    """Rows in which isolated layers are as lean as said, or grow like backprop."""
    costs = {"tpu_mb_8": [100.0], "tpu_mb_110": [1000.0]}
    lean = {"tpu_mb_8": [10.0], "tpu_mb_110": [12.0 if flat else 900.0]}
    rows = dict.fromkeys(("backprop", "checkpointed backprop"), costs)
    return Measured(rows | dict.fromkeys(local_learning.ISOLATED, lean))


def test_the_memory_claim_is_judged_by_growth():
    held, failed = (local_learning.claims(measured(flat))[0] for flat in (True, False))
    assert held.holds
    assert not failed.holds
    assert "890.0" in failed.measured


def test_unknown_rules_and_data_are_named():
    with pytest.raises(ValueError, match="method='hebb' is none of"):
        rule_of("hebb", 2, 6)
    with pytest.raises(ValueError, match="dataset='letters' is none of"):
        local_learning.Config(dataset="letters")
