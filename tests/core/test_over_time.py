"""`over_time` against a hand-written loop, and its state against leaking between sequences."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import SEQUENCE, over_time, stack, through_time
from jaxlearn.objectives import cross_entropy, per_step
from jaxlearn.rules import backprop, bptt
from tests.compiled import compiled
from tests.core.cells import frames, linen_cell, plain_cell

T = 4
BATCH = frames(6, T)


def close(a, b, rtol=1e-5, atol=1e-7):
    """Compare trees leaf by leaf."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


@cache
def unrolled(time_axis=1):
    """The cell at all moments."""
    return compiled(through_time(plain_cell(), T, time_axis=time_axis))


@jax.jit
def by_moment(params, batch):
    """Loss and gradient at each step, the carried state a constant."""
    cell, v, found = plain_cell(), jnp.zeros((6, 5)), []
    for t in range(T):

        def loss(params, v=v, t=t):
            y, state = cell.apply(params, {SEQUENCE: {"v": v}}, batch["inputs"][:, t])
            return cross_entropy(y, batch)[0], state[SEQUENCE]["v"]

        (value, v), grads = jax.value_and_grad(loss, has_aux=True)(params)
        found.append((value, grads))
    return found


def loop(params, batch, steps):
    """The definition, step by step: the gradients of some steps, the loss of all."""
    losses, grads = zip(*jax.tree.map(np.asarray, by_moment(params, batch)), strict=True)
    total = lambda *leaves: sum(leaves[t] for t in steps) / T
    return jax.tree.map(total, *grads), np.mean(losses)


def start(cell=None, **options):
    """The rule over time on the cell, with its parameters."""
    rule = over_time(backprop(cell or linen_cell(), cross_entropy), T, time_axis=1, **options)
    rule = compiled(rule)
    return rule, *rule.init(jax.random.key(0), BATCH)


def test_signal_is_the_sum_over_steps_with_a_constant_carry():
    rule, params, state = start()
    grads, _, metrics = rule.signal(params, state, BATCH, jax.random.key(1))
    expected, loss = loop(params, BATCH, range(T))
    close(grads, expected)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_update_steps_are_one_set_of_k_steps_divided_by_t(K):
    rule, params, state = start(update_steps=K)
    grads, _, metrics = rule.signal(params, state, BATCH, jax.random.key(5))
    candidates = [loop(params, BATCH, s) for s in itertools.combinations(range(T), K)]
    flat = lambda tree: np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
    errors = [np.abs(flat(grads) - flat(g)).max() for g, _ in candidates]
    assert min(errors) < 1e-6
    assert np.sort(errors)[1] > 1e-4
    np.testing.assert_allclose(metrics["loss"], candidates[0][1], rtol=1e-6)


def test_update_steps_vary_with_the_key():
    rule, params, state = start(update_steps=1)
    seen = {
        float(jax.tree.leaves(rule.signal(params, state, BATCH, jax.random.key(k))[0])[0].sum())
        for k in range(20)
    }
    assert len(seen) == T


def test_state_of_a_sequence_does_not_outlive_it():
    rule, params, state = start()
    assert SEQUENCE not in state
    first = rule.predict(params, state, BATCH)
    second = rule.predict(params, first[1], BATCH)
    assert SEQUENCE not in first[1]
    np.testing.assert_array_equal(first[0], second[0])


def test_prediction_is_the_mean_output_over_time():
    rule, params, state = start()
    outputs, _ = unrolled(1).apply(params, {}, BATCH["inputs"])
    close(rule.predict(params, state, BATCH)[0], outputs.mean(0))


def test_bptt_differentiates_through_the_carry():
    rule = compiled(bptt(linen_cell(), cross_entropy, T, time_axis=1))
    params, state = rule.init(jax.random.key(0), BATCH)
    grads, _, _ = rule.signal(params, state, BATCH, jax.random.key(1))

    def loss(params):
        outputs, _ = unrolled(1).apply(params, {}, BATCH["inputs"])
        return per_step(cross_entropy)(outputs, BATCH)[0]

    close(grads, jax.jit(jax.grad(loss))(params))
    cut, _ = loop(params, BATCH, range(T))
    assert not np.allclose(grads["drive"]["kernel"], cut["drive"]["kernel"], rtol=1e-2)


def test_checkpointing_changes_memory_not_gradients():
    rules = [
        compiled(bptt(linen_cell(), cross_entropy, T, time_axis=1, checkpoint=c))
        for c in (False, True)
    ]
    params, state = rules[0].init(jax.random.key(0), BATCH)
    signals = [r.signal(params, state, BATCH, jax.random.key(1))[0] for r in rules]
    close(*signals, rtol=1e-6)


def test_windows_continue_a_sequence():
    """Two windows of two steps carry the membrane on: truncated BPTT by composition."""
    window = bptt(plain_cell(), cross_entropy, 2, time_axis=1)
    rule = compiled(over_time(window, 2, time_axis=1))
    windows = BATCH | {"inputs": BATCH["inputs"].reshape(6, 2, 2, 4)}
    params, state = rule.init(jax.random.key(0), windows)
    outputs, _ = rule.predict(params, state, windows)
    whole, _ = unrolled(1).apply(params, {}, BATCH["inputs"])
    close(outputs, whole.mean(0))


def test_the_same_input_at_every_step_without_a_time_axis():
    static = BATCH | {"inputs": BATCH["inputs"][:, 0]}
    shown = BATCH | {"inputs": jnp.repeat(static["inputs"][:, None], T, 1)}
    rule = compiled(over_time(backprop(linen_cell(), cross_entropy), T))
    framed, params, state = start()
    close(rule.predict(params, state, static)[0], framed.predict(params, state, shown)[0])


def test_stacked_blocks_keep_their_own_membranes():
    cells = stack([linen_cell(), linen_cell()])
    rule = compiled(over_time(backprop(cells, cross_entropy), T, time_axis=1))
    params, state = rule.init(jax.random.key(0), BATCH)
    h, _ = unrolled(1).apply(params["0"], {}, BATCH["inputs"])
    y, _ = unrolled(0).apply(params["1"], {}, h)
    close(rule.predict(params, state, BATCH)[0], y.mean(0))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(T=0), "T must be at least 1, found 0"),
        (dict(T=4, update_steps=5), r"update_steps must lie in 1..4 \(= T\), found 5"),
        (dict(T=4, update_steps=0), "update_steps must lie in 1..4"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        over_time(backprop(linen_cell(), cross_entropy), **options)


def test_wrong_number_of_frames_is_named():
    rule = over_time(backprop(linen_cell(), cross_entropy), 7, time_axis=1)
    with pytest.raises(ValueError, match="4 frames on axis 1, expected T=7"):
        rule.init(jax.random.key(0), BATCH)
