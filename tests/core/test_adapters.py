"""Three dialects of one cell compute the same; state goes where it belongs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxlearn.core import SEQUENCE, from_functions, from_linen, from_nnx, over_time, through_time
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from tests.core.cells import frames, linen_cell, nnx_cell, plain_cell

BATCH = frames(6, 4)


def cells():
    """Name, model, and its parameters with the values of the Linen cell."""
    params, _ = linen_cell().init(jax.random.key(0), BATCH["inputs"][:, 0])
    return {"linen": linen_cell(), "nnx": nnx_cell(4, 6), "plain": plain_cell()}, params


@pytest.mark.parametrize("name", ["linen", "nnx", "plain"])
def test_dialects_agree_over_a_sequence(name):
    models, params = cells()
    rule = over_time(backprop(models[name], cross_entropy), 4, time_axis=1)
    own_params, state = rule.init(jax.random.key(0), BATCH)
    assert jax.tree.structure(own_params) == jax.tree.structure(params)
    grads, _, _ = jax.jit(rule.signal)(params, state, BATCH, jax.random.key(0))
    oracle = over_time(backprop(models["plain"], cross_entropy), 4, time_axis=1)
    expected, _, _ = oracle.signal(params, {}, BATCH, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-7), grads, expected)


@pytest.mark.parametrize("name", ["linen", "nnx", "plain"])
def test_apply_starts_a_sequence_when_there_is_none(name):
    models, params = cells()
    model, x = models[name], BATCH["inputs"][:, 0]
    _, fresh = model.init(jax.random.key(0), x)
    first, after = model.apply(params, {}, x)
    again, _ = model.apply(params, fresh, x)
    np.testing.assert_array_equal(first, again)
    carried, _ = model.apply(params, after, x)
    assert SEQUENCE in after
    assert not np.allclose(first, carried)


class Normed(linen.Module):
    """Batch statistics that last, dropout that needs a key."""

    @linen.compact
    def __call__(self, x, train: bool = False):
        """Normalise and drop."""
        x = linen.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return linen.Dropout(0.5, deterministic=not train)(x)


def test_linen_statistics_last_and_evaluation_leaves_them():
    model = from_linen(Normed())
    x = 3 + jax.random.normal(jax.random.key(0), (64, 2))
    params, state = model.init(jax.random.key(1), x)
    _, trained = model.apply(params, state, x, train=True, key=jax.random.key(2))
    mean = trained["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, 0.5 * x.mean(0), rtol=1e-5)
    _, evaluated = model.apply(params, trained, x)
    np.testing.assert_array_equal(evaluated["batch_stats"]["BatchNorm_0"]["mean"], mean)


def test_linen_dropout_follows_the_key():
    model = from_linen(Normed())
    x = jax.random.normal(jax.random.key(0), (64, 2))
    params, state = model.init(jax.random.key(1), x)
    draw = lambda k: model.apply(params, state, x, train=True, key=jax.random.key(k))[0]
    np.testing.assert_array_equal(draw(0), draw(0))
    assert not np.array_equal(draw(0), draw(1))


class NnxNormed(nnx.Module):
    """The same for NNX."""

    def __init__(self, rngs: nnx.Rngs):
        """Build."""
        self.norm = nnx.BatchNorm(2, momentum=0.5, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        """Normalise and drop."""
        return self.drop(self.norm(x))


def test_nnx_modes_statistics_and_dropout():
    model = from_nnx(NnxNormed)
    x = 3 + jax.random.normal(jax.random.key(0), (64, 2))
    params, state = model.init(jax.random.key(1), x)
    apply = jax.jit(model.apply, static_argnames="train")
    dropped, trained = apply(params, state, x, train=True, key=jax.random.key(2))
    assert (np.asarray(dropped) == 0).any()
    assert jax.tree.structure(trained) == jax.tree.structure(state)
    kept, evaluated = apply(params, trained, x)
    assert not (np.asarray(kept) == 0).any()
    for before, after in zip(
        jax.tree.leaves(trained["variables"]["norm"]),
        jax.tree.leaves(evaluated["variables"]["norm"]),
        strict=True,
    ):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(trained["variables"]["norm"]["mean"], 0.5 * x.mean(0), rtol=1e-5)


def test_functions_have_no_state():
    model = from_functions(
        lambda key, x: {"w": jnp.full(x.shape[-1:], 2.0)}, lambda p, x: p["w"] * x
    )
    params, state = model.init(jax.random.key(0), jnp.ones((3, 2)))
    y, after = model.apply(params, state, jnp.ones((3, 2)), train=True, key=jax.random.key(0))
    assert state == after == {}
    np.testing.assert_array_equal(y, 2 * np.ones((3, 2)))


def test_through_time_hands_its_sequence_on():
    model = through_time(linen_cell(), 4, time_axis=1)
    params, state = model.init(jax.random.key(0), BATCH["inputs"])
    _, after = model.apply(params, state, BATCH["inputs"])
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
