"""The step: one number per step, one key per step, one clear line for a batch that does not fit."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import Rule, keys, make_state, make_step, trees
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy, cross_entropy_with_mse
from jaxlearn.rules import backprop
from tests.compiled import compiled

BATCH = tiny_batch()
RULE = compiled(backprop(tiny_stack(), cross_entropy))
TX = optax.adam(1e-2)


@cache
def start():
    """The rule's first state."""
    return jax.jit(lambda: make_state(RULE, TX, jax.random.key(0), BATCH))()


def test_the_step_is_the_transform_of_the_signal():
    state = start()
    after, metrics = jax.jit(make_step(RULE, TX))(state, BATCH)
    grads, _, expected = RULE.signal(state.params, state.state, BATCH, jax.random.key(9))
    updates, _ = jax.jit(TX.update)(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-7), after.params, params)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    assert int(after.step) == 1


def noisy_rule() -> Rule:
    """A quadratic whose signal carries noise from the step's key."""
    init = lambda key, batch: ({"w": jnp.zeros(())}, {})

    def signal(params, state, batch, key):
        noise = jax.random.normal(key)
        return {"w": noise}, state, {"loss": params["w"]}

    return Rule(init, signal, lambda params, state, batch: (params["w"], state))


def test_every_step_has_its_own_key_and_the_seed_decides_all():
    tx = optax.sgd(1.0)
    step = jax.jit(make_step(noisy_rule(), tx))

    def run(seed):
        state, seen = make_state(noisy_rule(), tx, jax.random.key(seed), BATCH), []
        for _ in range(4):
            state, _ = step(state, BATCH)
            seen.append(float(state.params["w"]))
        return np.diff(seen)

    assert len(set(run(0))) == 3
    np.testing.assert_array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))


def test_the_transform_is_told_the_loss():
    seen = []
    init = lambda params: ()

    def update(updates, state, params=None, *, value, **extra):
        seen.append(value)
        return updates, state

    tx = optax.GradientTransformationExtraArgs(init, update)
    state = make_state(RULE, tx, jax.random.key(0), BATCH)
    _, metrics = make_step(RULE, tx)(state, BATCH)
    assert seen[0] is metrics["loss"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda b: b | {"inputs": jnp.zeros((32, 9))},
            r"inputs of shape \(32, 9\) need 0/Dense_0/kernel of shape \(9, 12\), found \(16, 12\)",
        ),
        (
            lambda b: b | {"labels": b["labels"][:5]},
            r"disagree on the number of examples.*batch\['labels'\] has 5",
        ),
        (lambda b: b | {"labels": jnp.int32(1)}, r"batch\['labels'\] is a scalar"),
        (lambda b: {}, "the batch is empty"),
        (lambda b: jax.tree.map(lambda leaf: leaf[:0], b), "a batch of 0 examples has no mean"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_in_one_line(change, message):
    state = start()
    with pytest.raises(ValueError, match=message) as error:
        jax.jit(make_step(RULE, TX))(state, change(BATCH))
    assert "\n" not in str(error.value)


def test_a_state_of_another_rule_is_refused():
    other = make_state(noisy_rule(), TX, jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=r"state.params does not belong to this rule"):
        make_step(RULE, TX)(other, BATCH)


def test_keys_of_examples_do_not_depend_on_the_place_in_the_batch():
    whole = keys.each_example(jax.random.key(0), BATCH)
    half = trees.over_examples(lambda leaf: leaf[16:], BATCH)
    part = keys.each_example(jax.random.key(0), half)
    data = jax.random.key_data
    np.testing.assert_array_equal(data(whole)[16:], data(part))
    assert len(np.unique(data(whole), axis=0)) == 32
    groups = [keys.for_examples(jax.random.key(0), b) for b in (BATCH, half)]
    assert not np.array_equal(*map(data, groups))


def test_cross_entropy_against_numpy_in_double_precision():
    rng = np.random.default_rng(0)
    logits, labels, weight = rng.normal(size=(7, 5)), rng.integers(0, 5, 7), rng.random(7)
    batch = {"labels": jnp.asarray(labels), "weight": jnp.asarray(weight, jnp.float32)}
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ce = -(weight * log_p[np.arange(7), labels]).mean()
    loss, metrics = cross_entropy(jnp.asarray(logits, jnp.float32), batch)
    np.testing.assert_allclose(loss, ce, rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], (weight * (logits.argmax(-1) == labels)).mean())
    for target, phi in ((1.0, 1.0), ("one-hot", np.eye(5)[labels])):
        squared = (weight * ((logits - phi) ** 2).mean(-1)).mean()
        mixed, _ = cross_entropy_with_mse(0.05, target)(jnp.asarray(logits, jnp.float32), batch)
        np.testing.assert_allclose(mixed, 0.95 * ce + 0.05 * squared, rtol=1e-5)
