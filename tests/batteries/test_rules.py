"""What every rule must do, whatever its method."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn import rules
from jaxlearn.core import begin, make_state, make_step, microbatch, over_time, stack, trees
from jaxlearn.models.tiny import tiny_batch
from tests.batteries.discover import EVERY_RULE, RULES
from tests.batteries.rooms import modules

BATCH = tiny_batch()
TX = optax.sgd(0.1, momentum=0.9)


def spec(tree):
    """Shapes and dtypes of a tree."""
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@cache
def compiled(name):
    """The rule's initial state from a key, and its step; both compiled once for all tests."""
    rule = RULES[name]
    return jax.jit(lambda key: make_state(rule, TX, key, BATCH)), jax.jit(make_step(rule, TX))


def run(name, steps, state=None):
    """The state after some steps, from seed 0 or from a given state."""
    make, step = compiled(name)
    state = make(jax.random.key(0)) if state is None else state
    for _ in range(steps):
        state, _ = step(state, BATCH)
    return state


def variant(rule, name, steps):
    """The state after some steps of a variant of a rule, from the rule's own start."""
    step, state = jax.jit(make_step(rule, TX)), run(name, 0)
    for _ in range(steps):
        state, _ = step(state, BATCH)
    return state


def test_every_method_offers_examples():
    missing = [m.__name__ for m in modules(rules) if not hasattr(m, "examples")]
    assert not missing


@pytest.mark.parametrize("name", RULES)
def test_signal_has_the_structure_of_the_parameters_and_state_keeps_its_own(name):
    rule, key = RULES[name], jax.random.key(1)
    params, state = jax.eval_shape(rule.init, key, BATCH)
    grads, after, metrics = jax.eval_shape(rule.signal, params, state, BATCH, key)
    assert spec(grads) == spec(params)
    assert spec(trees.lasting(after)) == spec(trees.lasting(state))
    assert metrics["loss"].shape == ()
    assert jax.eval_shape(lambda: begin(rule, BATCH)) == {} or "sequence" in state
    outputs, after = jax.eval_shape(rule.predict, params, trees.lasting(state), BATCH)
    assert outputs.shape[0] == 32
    assert spec(trees.lasting(after)) == spec(trees.lasting(state))


@pytest.mark.parametrize("name", EVERY_RULE)
def test_evaluation_changes_nothing_that_lasts_and_needs_no_labels(name):
    start, unlabelled = run(name, 0), {k: v for k, v in BATCH.items() if k != "labels"}
    predict = jax.jit(RULES[name].predict)
    outputs, after = predict(start.params, start.state, unlabelled)
    again, _ = predict(start.params, trees.lasting(after), unlabelled)
    np.testing.assert_array_equal(outputs, again)
    for a, b in zip(*map(jax.tree.leaves, (start.state, trees.lasting(after))), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_same_seed_same_bits_other_seed_other_bits(name):
    first, second = (run(name, 2) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    other = run(name, 2, compiled(name)[0](jax.random.key(1)))
    leaves = map(jax.tree.leaves, (first.params, other.params))
    same = [np.array_equal(a, b) for a, b in zip(*leaves, strict=True)]
    assert not all(same)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_stopped_run_continues_bit_for_bit(name):
    straight = run(name, 4)
    saved = jax.tree.map(np.asarray, run(name, 2)._replace(key=None))
    resumed = run(name, 2, saved._replace(key=run(name, 0).key))
    jax.tree.map(np.testing.assert_array_equal, resumed.params, straight.params)
    jax.tree.map(np.testing.assert_array_equal, resumed.opt_state, straight.opt_state)


def residual(a, b):
    """Relative differences of all parameters as one vector."""
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    a, b = flat(a), flat(b)
    return (a - b) / max(np.abs(b).max(), 1e-12)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_microbatches_follow_the_trajectory_of_the_whole_batch(name):
    split = variant(microbatch(RULES[name], 4), name, 5)
    difference = residual(split.params, run(name, 5).params)
    assert np.abs(difference).max() < 1e-4
    assert abs(difference.mean()) < 1e-5


@pytest.mark.parametrize("name", EVERY_RULE)
def test_a_sequence_of_one_step_is_the_step(name):
    sequence = variant(over_time(RULES[name], 1), name, 3)
    difference = residual(sequence.params, run(name, 3).params)
    assert np.abs(difference).max() < 1e-5
    assert abs(difference.mean()) < 1e-6


@pytest.mark.parametrize("name", EVERY_RULE)
def test_seeds_can_be_vmapped(name):
    one, two = (compiled(name)[0](jax.random.key(seed)) for seed in (0, 1))
    states = jax.tree.map(lambda a, b: jnp.stack([a, b]), one, two)
    states, metrics = jax.jit(jax.vmap(make_step(RULES[name], TX), (0, None)))(states, BATCH)
    assert metrics["loss"].shape == (2,)
    first = jax.tree.map(lambda leaf: leaf[0], states.params)
    assert np.abs(residual(first, run(name, 1).params)).max() < 1e-4


@pytest.mark.parametrize("name", RULES)
def test_inputs_of_another_width_are_refused(name):
    rule, narrow = RULES[name], BATCH | {"inputs": BATCH["inputs"][:, :5]}
    state = jax.eval_shape(lambda key: make_state(rule, TX, key, BATCH), jax.random.key(0))
    with pytest.raises(ValueError, match=r"does not fit the parameters.*found"):
        jax.eval_shape(make_step(rule, TX), state, narrow)


def test_stack_needs_no_state_for_stateless_blocks():
    assert stack([]).init(jax.random.key(0), jnp.ones(2)) == ({}, {})
