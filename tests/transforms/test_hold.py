"""Rows that are held stay bit for bit, all others train as without it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.transforms.hold import hold

PARAMS = {"coefficients": jnp.arange(1.0, 9.0).reshape(4, 2), "kernel": jnp.ones((3, 2))}
INNER = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9, nesterov=True))
first_two = lambda path: slice(0, 2) if path == "coefficients" else None


def after(tx, steps=3):
    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        params, state = step(params, state)
    return jax.tree.map(np.asarray, params)


def test_held_rows_stay_under_momentum_and_decay_and_the_others_train():
    free, found = after(INNER), after(hold(INNER, first_two))
    np.testing.assert_array_equal(found["coefficients"][:2], PARAMS["coefficients"][:2])
    np.testing.assert_array_equal(found["coefficients"][2:], free["coefficients"][2:])
    np.testing.assert_array_equal(found["kernel"], free["kernel"])
    assert not np.any(free["coefficients"] == PARAMS["coefficients"])


def test_rows_of_a_number_are_refused():
    tx = hold(optax.sgd(1.0), lambda path: slice(None))
    with pytest.raises(ValueError, match="a has no axis"):
        tx.update({"a": jnp.float32(1)}, tx.init({"a": jnp.float32(1)}))
