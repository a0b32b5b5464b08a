"""Steps that are skipped because something is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import make_state, make_step, stack
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.option_a_resnet import option_a_resnet
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit


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


def test_a_run_that_skips_keeps_the_statistics_of_batch_normalization_too():
    """One batch with a NaN; under the transform alone the running means would stay NaN for ever."""
    layers = stack([*option_a_resnet((1,), (4,)), classifier(4)])
    rule, tx = backprop(layers, cross_entropy), optax.sgd(1e-2)
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 3))
    good = {"inputs": np.asarray(images), "labels": np.arange(4)}
    broken = good | {"inputs": np.full_like(good["inputs"], np.nan)}
    state, step = make_state(rule, tx, jax.random.key(1), good), make_step(rule, tx)

    def end(steps, batches):
        options = {"on_nan": "skip", "progress": False}
        return fit(step, state, batches, steps=steps, **options)

    one = end(1, lambda at: good)
    two = end(2, lambda at: broken if at else good)
    kept = lambda done: (done.state.params, done.state.state, done.state.opt_state)
    assert jax.tree.leaves(one.state.state)
    jax.tree.map(np.testing.assert_array_equal, kept(one), kept(two))
    assert (int(two.state.step), np.isnan(two.history[1]["loss"])) == (2, True)
