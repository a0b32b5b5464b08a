"""The SNNK layer, its adapters, and the step from a trained dense layer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import FROZEN, from_linen, make_state, make_step
from jaxlearn.models.layers.adapters import BottleneckAdapter, SNNKAdapter, SNNKBottleneck
from jaxlearn.models.layers.random_features import (
    identity_features,
    relu_features,
    universal_features,
)
from jaxlearn.models.layers.snnk import SNNK, carry_over
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop

KEY = jax.random.key(0)
X = jnp.asarray(np.random.default_rng(1).normal(size=(6, 8)), jnp.float32)


def test_identity_4_linear_in_omega():
    layer = SNNK(5, universal_features("sin", 7))
    variables = jax.jit(layer.init)(KEY, X)
    a, b = variables["params"], {"omega": np.ones((5, 14), np.float32)}
    of = jax.jit(lambda params: layer.apply(variables | {"params": params}, X))
    both = jax.tree.map(lambda x, y: np.asarray(x) + y, a, b)
    np.testing.assert_allclose(of(both), np.asarray(of(a)) + of(b), rtol=1e-5, atol=1e-6)


def test_output_is_phi_times_omega_and_omega_starts_as_psi_of_dense_rows():
    features = relu_features(7)
    variables = jax.jit(SNNK(5, features, linen.initializers.ones).init)(KEY, X)
    draws, omega = variables[FROZEN]["draws"], variables["params"]["omega"]
    np.testing.assert_array_equal(omega, jax.jit(features.psi)(draws, jnp.ones((5, 8)), None))
    found = jax.jit(SNNK(5, features).apply)(variables, X)
    g, x = np.asarray(draws["directions"], np.float64), np.asarray(X, np.float64)
    np.testing.assert_allclose(found, np.maximum(x @ g.T, 0) / np.sqrt(7) @ omega.T, rtol=1e-5)


def test_drop_in_for_a_dense_layer_trains_omega_and_leaves_the_draws():
    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(SNNK(12, relu_features(16))(x))

    rule, batch = backprop(from_linen(Network()), cross_entropy), tiny_batch()
    tx = optax.adam(1e-2)
    state = jax.jit(lambda key: make_state(rule, tx, key, batch))(KEY)
    step, losses = jax.jit(make_step(rule, tx)), []
    before = jax.tree.map(np.asarray, state.state[FROZEN])
    for _ in range(30):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.5 * losses[0]
    jax.tree.map(np.testing.assert_array_equal, state.state[FROZEN], before)
    sizes = {k: leaf.size for k, leaf in state.params["SNNK_0"].items()}
    assert sizes == {"omega": 12 * 16}


def test_identity_5_adapters_start_as_the_identity_and_only_the_last_factor_has_a_gradient():
    features = relu_features(4)
    for adapter, quiet, loud in (
        (SNNKAdapter(features), "omega", "scale"),
        (SNNKBottleneck(features, 3), "omega", "up"),
        (BottleneckAdapter(3), "down", "up"),
    ):
        variables = jax.jit(adapter.init)(KEY, X)
        np.testing.assert_array_equal(jax.jit(adapter.apply)(variables, X), X)
        loss = lambda params, a=adapter, v=variables: (
            a.apply(v | {"params": params}, X) ** 2
        ).sum()
        slope = jax.jit(jax.grad(loss))(variables["params"])
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(slope[quiet]))
        assert any(np.any(leaf) for leaf in jax.tree.leaves(slope[loud]))


def test_an_adapter_of_16_features_on_768_units_has_13056_parameters():
    shapes = jax.eval_shape(SNNKAdapter(relu_features(16)).init, KEY, jnp.ones((1, 768)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 13_056


class Two(linen.Module):
    """A hidden layer and a readout."""

    hidden: linen.Module

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2, name="out")(self.hidden(x))


@pytest.mark.slow
def test_carried_over_layers_use_the_weights_and_their_own_draws():
    features = universal_features("cos", 2048, form="asymmetric")
    dense = Two(linen.Dense(3)).init(KEY, X)["params"]
    dense["hidden"]["bias"] = jnp.array([0.3, -0.2, 0.5])
    new = Two(SNNK(3, features))
    variables = new.init(jax.random.key(5), X)
    params = carry_over(dense, variables["params"], variables[FROZEN], features)
    np.testing.assert_array_equal(params["out"]["kernel"], dense["out"]["kernel"])
    small = 0.3 * X
    hidden = jnp.cos(small @ dense["hidden"]["kernel"] + dense["hidden"]["bias"])
    truth = hidden @ dense["out"]["kernel"] + dense["out"]["bias"]
    found = new.apply({"params": params, FROZEN: variables[FROZEN]}, small)
    assert jnp.sqrt(((found - truth) ** 2).mean()) < 0.15
    other = new.apply({"params": variables["params"], FROZEN: variables[FROZEN]}, small)
    assert ((found - truth) ** 2).mean() < 0.2 * ((other - truth) ** 2).mean()


def test_carry_over_keeps_what_is_new_and_refuses_other_shapes():
    kept = carry_over({"a": jnp.ones(2)}, {"a": jnp.zeros(2), "b": jnp.zeros(1)})
    assert kept["a"].sum() == 2
    assert kept["b"].sum() == 0
    with pytest.raises(ValueError, match="differ in a leaf"):
        carry_over({"a": jnp.ones(3)}, {"a": jnp.zeros(2)}, {}, identity_features())
    with pytest.raises(ValueError, match="needs its features"):
        carry_over({"kernel": jnp.ones((1, 1))}, {"omega": jnp.ones((1, 1))})


def test_a_bias_is_left_behind_where_the_kernel_has_no_place_for_it():
    features = relu_features(4)
    draws = features.draw(KEY, 2)
    dense = {"kernel": jnp.eye(2), "bias": jnp.ones(2)}
    found = carry_over(dense, {"omega": jnp.zeros((2, 4))}, {"draws": draws}, features)
    np.testing.assert_array_equal(found["omega"], features.psi(draws, jnp.eye(2), None))
