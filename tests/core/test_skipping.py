"""Steps that are skipped because something is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop


def test_a_transform_that_skips_leaves_everything_as_it_was():
    """A batch with a NaN under `optax.apply_if_finite`: no leaf moves, then training goes on."""
    rule, tx = backprop(tiny_stack(), cross_entropy), optax.apply_if_finite(optax.adam(1e-2), 2)
    batch = tiny_batch()
    broken = batch | {"inputs": batch["inputs"].at[0, 0].set(jnp.nan)}
    step = jax.jit(make_step(rule, tx))
    before, _ = step(make_state(rule, tx, jax.random.key(0), batch), batch)
    after, metrics = step(before, broken)
    assert not jnp.isfinite(metrics["loss"])
    inner = lambda state: (state.params, state.opt_state.inner_state)
    jax.tree.map(np.testing.assert_array_equal, inner(before), inner(after))
    assert int(after.opt_state.total_notfinite) == 1
    again, _ = step(after, batch)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), again.params, after.params)
    assert all(jax.tree.leaves(moved))
