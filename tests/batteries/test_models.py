"""What every model must do, whatever its family: `examples()` gives `(model, input)` pairs."""

import jax
import numpy as np
import pytest

from jaxlearn.core import SEQUENCE, trees
from tests.batteries.discover import MODELS

KEY = jax.random.key(0)


@pytest.mark.parametrize("name", MODELS)
def test_compiled_equals_plain_and_state_keeps_its_shape(name):
    model, x = MODELS[name]
    params, state = jax.jit(model.init)(KEY, x)
    y, after = model.apply(params, state, x)
    compiled, _ = jax.jit(model.apply)(params, state, x)
    np.testing.assert_allclose(y, compiled, rtol=1e-4, atol=1e-5)
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert spec(after) == spec(state)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_leaves_lasting_state_and_sequences_start_afresh(name):
    model, x = MODELS[name]
    params, state = jax.jit(model.init)(KEY, x)
    y, after = model.apply(params, trees.lasting(state), x)
    again, _ = model.apply(params, trees.lasting(after), x)
    np.testing.assert_array_equal(y, again)
    for a, b in zip(
        *map(jax.tree.leaves, (trees.lasting(state), trees.lasting(after))), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert (SEQUENCE in after) == (SEQUENCE in state)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model, x = MODELS[name]
    params, state = jax.jit(model.init)(KEY, x)

    @jax.jit
    @jax.grad
    def slope(params):
        y, _ = model.apply(params, state, x, train=True, key=KEY)
        return (y * jax.random.normal(KEY, y.shape)).sum()

    for keys, leaf in jax.tree.leaves_with_path(slope(params)):
        assert np.isfinite(leaf).all(), trees.path(keys)
        assert np.any(leaf != 0) or "bias" in trees.path(keys), trees.path(keys)
