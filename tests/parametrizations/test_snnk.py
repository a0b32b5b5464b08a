"""Adapters as what is trained of a network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import FROZEN, from_linen, make_state, make_step, reparametrize, trees
from jaxlearn.models.encoder import Classifier, Encoder
from jaxlearn.models.layers.adapters import SNNKAdapter
from jaxlearn.models.layers.random_features import relu_features
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.snnk import adapters_only, linear_snnk
from jaxlearn.rules import backprop

KEY = jax.random.key(0)


@pytest.mark.slow
def test_only_adapters_and_the_classifier_are_trained_and_draws_stay():
    adapter = lambda name: SNNKAdapter(relu_features(4), name=name)
    model = from_linen(Classifier(Encoder(1, 2, 8, adapter=adapter), 3))
    x = jax.random.normal(KEY, (16, 4, 8))
    labels = jnp.arange(16) % 3
    batch = {"inputs": {"x": x, "mask": jnp.ones((16, 4), bool)}, "labels": labels}
    rule, tx = reparametrize(backprop(model, cross_entropy), adapters_only()), optax.adam(0.02)
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(KEY)
    paths = [trees.path(keys) for keys, _ in jax.tree.leaves_with_path(state.params)]
    assert paths == [
        "classifier/bias",
        "classifier/kernel",
        "encoder/layer_0/adapter_attention/omega",
        "encoder/layer_0/adapter_attention/scale",
        "encoder/layer_0/adapter_ffn/omega",
        "encoder/layer_0/adapter_ffn/scale",
    ]
    before, first = jax.tree.map(np.asarray, (state.state[FROZEN], state.params))
    step, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(40):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0]
    jax.tree.map(np.testing.assert_array_equal, state.state[FROZEN], before)
    for a, b in zip(*map(jax.tree.leaves, (state.params, first)), strict=True):
        assert np.any(a != b)


def test_a_network_without_adapters_is_refused():
    with pytest.raises(ValueError, match="leaves nothing to train"):
        adapters_only(()).init(KEY, {"w": jnp.ones(2)})


def test_the_linear_adapter_folds_into_the_weights_before_it():
    """`x W` is the layer with its adapter behind it, features linear as at a floor far below."""
    made = linear_snnk(7)
    w = jax.random.normal(KEY, (4, 5))
    theta, frozen = made.init(jax.random.key(1), {"w": w})
    theta["w"]["scale"] = jnp.linspace(-1, 1, 5)
    folded = made.materialize(theta, frozen)["w"]
    x = jax.random.normal(jax.random.key(2), (6, 4))
    directions = np.sqrt(7) * frozen["projections"]["w"].T
    phi = relu_features(7, floor=-1e4).phi({"directions": directions}, x @ w)
    behind = x @ w + theta["w"]["scale"] * (phi @ theta["w"]["omega"].T)
    np.testing.assert_allclose(x @ folded, behind, rtol=1e-4, atol=1e-5)
    assert sum(leaf.size for leaf in jax.tree.leaves(theta)) == 5 * 7 + 5


def test_only_matrices_that_are_asked_for_are_adapted():
    params = {"a": jnp.ones((2, 3)), "b": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    theta, _ = linear_snnk(2, adapted=lambda path: path != "a").init(KEY, params)
    assert set(theta) == {"b"}
    with pytest.raises(ValueError, match="adapts no parameter"):
        linear_snnk(2).init(KEY, {"bias": jnp.ones(3)})
    with pytest.raises(ValueError, match="count must be at least 1"):
        linear_snnk(0)
