"""What every model must do, whatever its family: `examples()` gives `(model, input)` pairs."""

from functools import cache

import jax
import numpy as np
import pytest

from jaxlearn.core import SEQUENCE, trees
from tests.batteries.discover import FIRST_MODELS, MODELS, patiently

KEY = jax.random.key(0)
DEEP = {
    "bt2", "cifar-resnext", "decoder", "densenet", "llama", "memory-network", "opt",
    "preact-resnet", "pyramidnet", "quadratic-resnet", "spikegpt", "spiking-delay", "vit",
    "wide-resnet",
}  # fmt: skip
"""Operation by operation these take seconds each."""


@cache
def compiled(name):
    """The model, its input, what it starts from, and its evaluation; compiled for all tests."""
    model, x = MODELS[name]
    return model, x, *jax.jit(model.init)(KEY, x), jax.jit(model.apply)


@pytest.mark.parametrize(
    "name", patiently(MODELS, [name for name in FIRST_MODELS if name not in DEEP])
)
def test_compiled_equals_plain(name):
    model, x, params, state, apply = compiled(name)
    y, _ = model.apply(params, trees.lasting(state), x)
    np.testing.assert_allclose(y, apply(params, trees.lasting(state), x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_state_keeps_its_shape(name):
    model, x, params, state, _ = compiled(name)
    _, after = jax.eval_shape(model.apply, params, state, x)
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert spec(after) == spec(state)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_leaves_lasting_state_and_sequences_start_afresh(name):
    _, x, params, state, apply = compiled(name)
    y, after = apply(params, trees.lasting(state), x)
    again, _ = apply(params, trees.lasting(after), x)
    np.testing.assert_array_equal(y, again)
    for a, b in zip(
        *map(jax.tree.leaves, (trees.lasting(state), trees.lasting(after))), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert (SEQUENCE in after) == (SEQUENCE in state)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model, x, params, state, _ = compiled(name)

    @jax.jit
    @jax.grad
    def slope(params):
        y, _ = model.apply(params, state, x, train=True, key=KEY)
        return (y * np.random.default_rng(0).normal(size=y.shape).astype(np.float32)).sum()

    for keys, leaf in jax.tree.leaves_with_path(slope(params)):
        assert np.isfinite(leaf).all(), trees.path(keys)
        assert np.any(leaf != 0) or "bias" in trees.path(keys), trees.path(keys)
