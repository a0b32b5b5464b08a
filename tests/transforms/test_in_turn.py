"""Each part moves in its turn as if it were alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
from jaxlearn.rules.target_projection import target_projection
from jaxlearn.transforms.in_turn import in_turn


def test_a_part_moves_in_its_turn_and_as_if_alone():
    tx = in_turn(optax.adam(0.1), int, 2, steps=3)
    params = {"0": jnp.ones(2), "1": jnp.ones(2)}
    state, alone, trail = tx.init(params), optax.adam(0.1), [params]
    update = jax.jit(tx.update)
    for _ in range(8):
        updates, state = update(params, state, params)
        params = optax.apply_updates(params, updates)
        trail.append(params)
    own, leaf = alone.init(jnp.ones(2)), jnp.ones(2)
    for k in range(5):  # the last turn has no end
        updates, own = alone.update(leaf, own, leaf)
        leaf = optax.apply_updates(leaf, updates)
        np.testing.assert_allclose(trail[4 + k]["1"], leaf, rtol=1e-6)
        if k < 3:
            np.testing.assert_allclose(trail[1 + k]["0"], leaf, rtol=1e-6)
    np.testing.assert_array_equal(trail[3]["1"], jnp.ones(2))
    np.testing.assert_array_equal(trail[8]["0"], trail[3]["0"])


def test_target_projection_layer_by_layer():
    """A layer trained in its turn ends where it ends when all train at once, if it is the first."""
    rule, batch = target_projection(tiny_blocks(), tiny_head(), classes=3), tiny_batch()
    plain, layered = optax.sgd(0.1, 0.9), in_turn(optax.sgd(0.1, 0.9), lambda p: int(p[0]), 3, 12)
    after = {}
    for name, tx, steps in (("at once", plain, 12), ("in turn", layered, 36)):
        state, step = make_state(rule, tx, jax.random.key(0), batch), jax.jit(make_step(rule, tx))
        for _ in range(steps):
            state, metrics = step(state, batch)
        after[name] = state.params
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(near, after["in turn"]["0"], after["at once"]["0"])
    assert float(metrics["accuracy"]) > 0.75


def test_wrong_turns_are_refused():
    with pytest.raises(ValueError, match="turns and steps must be at least 1"):
        in_turn(optax.sgd(0.1), int, 0, 3)
    with pytest.raises(ValueError, match="2 has turn 2, expected 0 to 1"):
        in_turn(optax.sgd(0.1), int, 2, 3).init({"2": jnp.ones(1)})
