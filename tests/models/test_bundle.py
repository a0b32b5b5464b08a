"""Bundles of layers against the products they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import FROZEN, stack
from jaxlearn.models.bundle import bundle, bundled, draw_tower, tower
from jaxlearn.models.layers.random_features import (
    identity_features,
    relu_features,
    universal_features,
)
from jaxlearn.models.tiny import tiny_head

KEY = jax.random.key(0)
W = [jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(5, 4), (3, 5), (2, 3)])]


def test_identity_6_without_features_a_bundle_is_the_product_of_the_matrices():
    two = [identity_features()] * 2
    found = bundle(two, {"0": {}, "1": {}}, [(W[0], None), (W[1], None)])
    np.testing.assert_array_equal(found, W[1] @ W[0])


def test_identity_6_bundling_is_associative():
    exact, draws = identity_features(), {str(i): {} for i in range(3)}
    at_once = bundle([exact] * 3, draws, [(w, None) for w in W])
    upper = bundle([exact] * 2, draws, [(W[1], None), (W[2], None)])
    in_parts = bundle([exact] * 2, draws, [(W[0], None), (upper, None)])
    np.testing.assert_allclose(at_once, in_parts, rtol=1e-5)


@pytest.mark.slow
def test_a_bundle_follows_the_network_it_is_made_of():
    """`W_2 sin(W_1 x + b)`: sin is estimated, the linear layer on top is exact."""
    maps = [universal_features("sin", 8192, form="asymmetric"), identity_features()]
    draws = draw_tower(maps, KEY, 4)
    b, x = jnp.linspace(-0.5, 0.5, 5), 0.3 * jax.random.normal(KEY, (6, 4))
    rows = 0.3 * W[0]
    omega = bundle(maps, draws, [(rows, b), (W[1], None)])
    truth = jnp.sin(x @ rows.T + b) @ W[1].T
    error = tower(maps, draws, x) @ omega.T - truth
    assert jnp.sqrt((error**2).mean()) < 0.1 * jnp.sqrt((truth**2).mean())


def test_the_second_map_sees_the_features_of_the_first():
    maps = [relu_features(6), relu_features(7)]
    draws = draw_tower(maps, KEY, 4)
    x = jax.random.normal(KEY, (3, 4))
    relu = lambda v, d, n: np.maximum(v @ np.asarray(d["directions"]).T, 0) / np.sqrt(n)
    expected = relu(relu(np.asarray(x), draws["0"], 6), draws["1"], 7)
    np.testing.assert_allclose(tower(maps, draws, x), expected, rtol=1e-5)
    omega = bundle(maps, draws, [(W[0], None), (W[1], None)])
    first = relu(np.asarray(W[0]), draws["0"], 6)
    np.testing.assert_allclose(omega, relu(np.asarray(W[1]) @ first, draws["1"], 7), rtol=1e-4)


def test_partial_bundling_is_a_block_of_a_stack_with_omega_as_its_only_parameter():
    x = jax.random.normal(KEY, (3, 4))
    model = stack([bundled([relu_features(6), relu_features(7)], 5), tiny_head()])
    params, state = model.init(KEY, x)
    assert {k: v.shape for k, v in params["0"].items()} == {"omega": (5, 7)}
    np.testing.assert_array_equal(model.apply(params, state, x)[0], 0)
    params["0"]["omega"] = jnp.ones((5, 7))
    y, after = model.apply(params, state, x)
    assert np.any(y != 0)
    jax.tree.map(np.testing.assert_array_equal, after[FROZEN], state[FROZEN])


def test_layers_and_maps_have_to_match():
    with pytest.raises(ValueError, match="as many layers as maps"):
        bundle([identity_features()], {"0": {}}, [])
