"""Updates at every moment: against a loop, and against one update for the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import (
    SEQUENCE,
    begin,
    make_online_step,
    make_state,
    make_step,
    over_time,
)
from jaxlearn.core.over_time import frame
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from tests.core.cells import frames, linen_cell

T, BATCH = 4, frames(6, 4)
RULE = backprop(linen_cell(), cross_entropy)


def start(tx, T=T):
    batch = BATCH if T > 1 else BATCH | {"inputs": BATCH["inputs"][:, :1]}
    rule = over_time(RULE, T, time_axis=1)
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), batch))()
    return rule, state, batch


def close(a, b, rtol=1e-6, atol=1e-7):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


def test_it_is_a_loop_of_signals_and_updates():
    tx = optax.sgd(0.5, momentum=0.9)
    _, state, _ = start(tx)
    after, metrics = jax.jit(make_online_step(RULE, tx, T, time_axis=1))(state, BATCH)
    params, opt, losses = state.params, state.opt_state, []
    carried = {SEQUENCE: begin(RULE, frame(BATCH, 0, T, 1))}
    for t in range(T):
        grads, carried, m = jax.jit(RULE.signal)(params, carried, frame(BATCH, t, T, 1), state.key)
        updates, opt = tx.update(jax.tree.map(lambda g: g / T, grads), opt, params)
        params = optax.apply_updates(params, updates)
        losses.append(m["loss"])
    close(after.params, params)
    close(after.opt_state, opt)
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-6)
    assert after.step == 1
    assert SEQUENCE not in after.state


def test_one_moment_is_one_step():
    tx = optax.adam(1e-2)
    rule, state, batch = start(tx, 1)
    online, whole = make_online_step(RULE, tx, 1, time_axis=1), make_step(rule, tx)
    ours = theirs = state
    for _ in range(3):
        (ours, _), (theirs, _) = jax.jit(online)(ours, batch), jax.jit(whole)(theirs, batch)
    close(ours.params, theirs.params)
    assert not np.array_equal(*(jax.tree.leaves(s.params)[0] for s in (ours, state)))


def test_small_updates_add_up_to_the_accumulated_one():
    rate = 1e-3
    rule, state, _ = start(optax.sgd(rate))
    grads, _, _ = jax.jit(rule.signal)(state.params, state.state, BATCH, state.key)
    after, _ = jax.jit(make_online_step(RULE, optax.sgd(rate), T, time_axis=1))(state, BATCH)
    moved = jax.tree.map(lambda a, b: (b - a) / rate, after.params, state.params)
    close(moved, grads, rtol=1e-2, atol=1e-3)


def test_it_learns_in_one_compilation():
    tx = optax.adam(1e-2)
    _, state, _ = start(tx)
    step, losses = jax.jit(make_online_step(RULE, tx, T, time_axis=1)), []
    for _ in range(30):
        state, metrics = step(state, BATCH)
        losses.append(float(metrics["loss"]))
    assert step._cache_size() == 1
    assert losses[-1] < 0.8 * losses[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="T must be at least 1"):
        make_online_step(RULE, optax.sgd(0.1), 0)
    _, state, _ = start(optax.sgd(0.1))
    narrow = BATCH | {"inputs": jnp.ones((6, T, 3))}
    with pytest.raises(ValueError, match="does not fit the parameters"):
        make_online_step(RULE, optax.sgd(0.1), T, time_axis=1)(state, narrow)
