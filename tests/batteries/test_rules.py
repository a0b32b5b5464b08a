"""What every rule must do, whatever its method."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn import rules
from jaxlearn.core import begin, make_state, make_step, microbatch, over_time, stack, trees
from jaxlearn.models.tiny import tiny_batch
from tests.batteries.discover import RULES, modules

BATCH = tiny_batch()
TX = optax.sgd(0.1, momentum=0.9)


def spec(tree):
    """Shapes and dtypes of a tree."""
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.asarray(leaf).dtype), tree)


def trained(rule, batch, steps):
    """The state after some steps from seed 0."""
    state = jax.jit(lambda key: make_state(rule, TX, key, batch))(jax.random.key(0))
    step = jax.jit(make_step(rule, TX))
    for _ in range(steps):
        state, _ = step(state, batch)
    return state


def test_every_method_offers_examples():
    missing = [m.__name__ for m in modules(rules) if not hasattr(m, "examples")]
    assert not missing


@pytest.mark.parametrize("name", RULES)
def test_signal_has_the_structure_of_the_parameters_and_state_keeps_its_own(name):
    rule = RULES[name]
    params, state = jax.jit(rule.init)(jax.random.key(0), BATCH)
    grads, after, metrics = jax.jit(rule.signal)(params, state, BATCH, jax.random.key(1))
    assert spec(grads) == spec(params)
    assert spec(trees.lasting(after)) == spec(trees.lasting(state))
    assert metrics["loss"].shape == ()
    assert begin(rule, BATCH) == {} or "sequence" in state
    outputs, after = jax.jit(rule.predict)(params, trees.lasting(state), BATCH)
    assert outputs.shape[0] == 32
    assert spec(trees.lasting(after)) == spec(trees.lasting(state))


@pytest.mark.parametrize("name", RULES)
def test_evaluation_changes_nothing_that_lasts_and_needs_no_labels(name):
    rule = RULES[name]
    params, state = jax.jit(rule.init)(jax.random.key(0), BATCH)
    unlabelled = {k: v for k, v in BATCH.items() if k != "labels"}
    outputs, after = jax.jit(rule.predict)(params, trees.lasting(state), unlabelled)
    again, _ = jax.jit(rule.predict)(params, trees.lasting(after), BATCH)
    np.testing.assert_array_equal(outputs, again)
    for a, b in zip(
        *map(jax.tree.leaves, (trees.lasting(state), trees.lasting(after))), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", RULES)
def test_same_seed_same_bits_other_seed_other_bits(name):
    first, second = (trained(RULES[name], BATCH, 2) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)
    other = RULES[name].init(jax.random.key(1), BATCH)[0]
    leaves = map(jax.tree.leaves, (first.params, other))
    same = [np.array_equal(a, b) for a, b in zip(*leaves, strict=True)]
    assert not all(same)


@pytest.mark.parametrize("name", RULES)
def test_a_stopped_run_continues_bit_for_bit(name):
    straight = trained(RULES[name], BATCH, 4)
    step = jax.jit(make_step(RULES[name], TX))
    state = jax.tree.map(jnp.array, trained(RULES[name], BATCH, 2))
    for _ in range(2):
        state, _ = step(state, BATCH)
    jax.tree.map(np.testing.assert_array_equal, state.params, straight.params)
    jax.tree.map(np.testing.assert_array_equal, state.opt_state, straight.opt_state)


def residual(a, b):
    """Relative differences of all parameters as one vector."""
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    a, b = flat(a), flat(b)
    return (a - b) / max(np.abs(b).max(), 1e-12)


@pytest.mark.parametrize("name", RULES)
def test_microbatches_follow_the_trajectory_of_the_whole_batch(name):
    whole = trained(RULES[name], BATCH, 5)
    split = trained(microbatch(RULES[name], 4), BATCH, 5)
    difference = residual(split.params, whole.params)
    assert np.abs(difference).max() < 1e-4
    assert abs(difference.mean()) < 1e-5


@pytest.mark.parametrize("name", RULES)
def test_a_sequence_of_one_step_is_the_step(name):
    once = trained(RULES[name], BATCH, 3)
    sequence = trained(over_time(RULES[name], 1), BATCH, 3)
    assert np.abs(residual(sequence.params, once.params)).max() < 1e-5


@pytest.mark.parametrize("name", RULES)
def test_seeds_can_be_vmapped(name):
    rule = RULES[name]
    start = jax.vmap(lambda key: make_state(rule, TX, key, BATCH))
    states = start(jax.vmap(jax.random.key)(jnp.arange(2)))
    states, metrics = jax.jit(jax.vmap(make_step(rule, TX), (0, None)))(states, BATCH)
    assert metrics["loss"].shape == (2,)
    alone = trained(rule, BATCH, 1)
    first = jax.tree.map(lambda leaf: leaf[0], states.params)
    assert np.abs(residual(first, alone.params)).max() < 1e-4


@pytest.mark.parametrize("name", RULES)
def test_inputs_of_another_width_are_refused(name):
    state = jax.jit(lambda key: make_state(RULES[name], TX, key, BATCH))(jax.random.key(0))
    narrow = BATCH | {"inputs": BATCH["inputs"][:, :5]}
    with pytest.raises(ValueError, match=r"does not fit the parameters.*found"):
        make_step(RULES[name], TX)(state, narrow)


def test_stack_needs_no_state_for_stateless_blocks():
    assert stack([]).init(jax.random.key(0), jnp.ones(2)) == ({}, {})
