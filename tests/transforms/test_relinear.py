"""ReLinear's groups: rates, shrinkage and penalties, and the runs they have to reproduce."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import make_state, make_step, reparametrize, trees
from jaxlearn.models.layers.quadratic import group_of
from jaxlearn.models.quadratic_mlp import quadratic_mlp
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations import lora
from jaxlearn.rules import backprop
from jaxlearn.transforms.relinear import (
    PerGroup,
    penalize_quadratic,
    quadratic_penalty,
    shrink,
    shrink_gradients,
    shrink_weights,
)

KEY, LR = jax.random.key(0), 0.05
PARAMS = {
    "kernel_r": jnp.array([[1.0, -2.0]]),
    "kernel_g": jnp.array([[3.0, -0.5]]),
    "bias_g": jnp.array([0.5, 2.0]),
    "kernel_b": jnp.array([[-4.0, 0.25]]),
    "bias_b": jnp.array([1.5, -1.0]),
    "other": jnp.array([7.0]),
}
CONVENTIONAL = {"kernel_g": 0, "bias_g": 1, "kernel_b": 0, "bias_b": 0}


def optimizer(momentum=0.9, decay=1e-2):
    """Momentum SGD with weight decay, as the papers' scripts."""
    return optax.chain(optax.add_decayed_weights(decay), optax.sgd(LR, momentum))


@cache
def trained(form, gamma_g, gamma_b, steps=6):
    """Parameters of a small quadratic network after some steps, from the same start and data."""
    rule = backprop(quadratic_mlp((6, 6), 3, form=form), cross_entropy)
    shrunk = [] if gamma_g is None else [shrink_gradients(gamma_g, gamma_b)]
    tx = optax.chain(optimizer(), *shrunk)
    state = make_state(rule, tx, KEY, tiny_batch())
    trail, step = [state.params], jax.jit(make_step(rule, tx))
    for i in range(steps):
        state, _ = step(state, tiny_batch(seed=i))
        trail.append(state.params)
    return trail


def leaves(params, groups):
    """Leaves of some groups by path."""
    flat = {trees.path(keys): leaf for keys, leaf in jax.tree.leaves_with_path(params)}
    return {path: leaf for path, leaf in flat.items() if group_of(path) in groups}


def test_identity_3_at_rate_0_it_is_the_conventional_run():
    still, plain = trained("full", 0.0, 0.0), trained("conventional", None, None)
    for params in still:
        for path, leaf in leaves(params, "gb").items():
            np.testing.assert_array_equal(leaf, float(path.endswith("bias_g")))
    for ours, theirs in zip(still, plain, strict=True):
        a, b = (leaves(tree, ("r", "other")) for tree in (ours, theirs))
        assert a.keys() == b.keys()
        for path in a:
            np.testing.assert_allclose(a[path], b[path], rtol=1e-5, atol=1e-6)
    assert not np.allclose(plain[-1]["0"]["QuadraticDense_0"]["kernel_r"],
                           plain[0]["0"]["QuadraticDense_0"]["kernel_r"], atol=1e-3)  # fmt: skip


def test_identity_4_at_rate_1_it_is_plain_training():
    for ours, theirs in zip(trained("full", 1.0, 1.0), trained("full", None, None), strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_identity_5_the_first_step_of_each_group_is_its_share_of_the_gradient():
    grads = jax.tree.map(lambda leaf: jnp.cos(leaf) + 0.1, PARAMS)
    tx = optax.chain(optimizer(decay=0.0), shrink_gradients(1e-2, 1e-3))
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    shares = {"r": 1, "g": 1e-2, "b": 1e-3, "other": 1}
    for name in PARAMS:
        ratio = jnp.linalg.norm(updates[name]) / (LR * jnp.linalg.norm(grads[name]))
        assert float(ratio) == pytest.approx(shares[group_of(name)], rel=1e-6)


def test_the_rate_scales_momentum_and_weight_decay_too():
    """Groups written out: v <- 0.9 v + (grad + decay w), w <- w - gamma lr v."""
    grads = [jax.tree.map(lambda leaf, i=i: jnp.sin(leaf + i), PARAMS) for i in range(4)]
    tx = optax.chain(optimizer(), shrink_gradients(0.3, 0.1))
    params, state = PARAMS, tx.init(PARAMS)
    for g in grads:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
    shares = {"r": 1, "g": 0.3, "b": 0.1, "other": 1}
    for name, leaf in PARAMS.items():
        w, v = np.asarray(leaf, np.float64), 0.0
        for g in grads:
            v = 0.9 * v + (np.asarray(g[name], np.float64) + 1e-2 * w)
            w = w - shares[group_of(name)] * LR * v
        np.testing.assert_allclose(params[name], w, rtol=1e-5, atol=1e-6)


def test_rate_0_holds_against_a_gradient_that_is_not_finite():
    grads = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), PARAMS)
    tx = shrink_gradients(0.0, 1.0)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    for name, updated in updates.items():
        expected = 0 if group_of(name) == "g" else jnp.nan
        np.testing.assert_array_equal(updated, jnp.full_like(updated, expected))


def test_low_rank_factors_have_the_rate_of_their_parameter():
    rule = reparametrize(backprop(quadratic_mlp((6, 6), 3), cross_entropy), lora(2))
    moved = []
    for rate in (0.0, 0.5):
        tx = optax.chain(optax.sgd(LR), shrink_gradients(rate))
        state = make_state(rule, tx, KEY, tiny_batch())
        after, _ = jax.jit(make_step(rule, tx))(state, tiny_batch())
        moved.append(jax.tree.map(lambda new, old: new - old, after.params, state.params))
    still, half = (leaves(change, "gb") for change in moved)
    assert len(still) == 2 * 2 * 2  # two layers, W_g and W_b, two factors
    assert not any(np.any(change) for change in still.values())
    assert any(np.any(change) for change in half.values())
    full = leaves(moved[0], ("r", "other"))
    assert any(np.any(change) for change in full.values())
    with pytest.raises(ValueError, match="kernel_b/a is not a quadratic parameter but a part of"):
        shrink_weights(0.5).update(moved[1], PerGroup(0.5, 0.5), moved[1])


@pytest.mark.parametrize("kind", ["scale", "clip", "soft"])
def test_identity_9_strength_0_gives_the_conventional_neuron(kind):
    found = shrink(PARAMS, PerGroup(0.0, 0.0), kind)
    for name, value in CONVENTIONAL.items():
        np.testing.assert_array_equal(found[name], value)
    for name in ("kernel_r", "other"):
        np.testing.assert_array_equal(found[name], PARAMS[name])
    tx = optax.chain(optax.sgd(LR), shrink_weights(0.0, kind=kind))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
    after = optax.apply_updates(PARAMS, updates)
    for name, value in CONVENTIONAL.items():
        np.testing.assert_array_equal(after[name], value)
    np.testing.assert_allclose(after["other"], (1 - LR) * PARAMS["other"], rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "g", "b", "expected"),
    [
        ("scale", 0.5, 0.1, {"bias_g": [0.75, 1.5], "kernel_b": [[-0.4, 0.025]]}),
        ("clip", 0.25, 2.0, {"bias_g": [0.75, 1.25], "kernel_b": [[-2.0, 0.25]]}),
        ("soft", 4.0, 1.0, {"bias_g": [0.75, 1.75], "kernel_b": [[-3.0, 0.0]]}),
        ("scale", 1.0, 1.0, PARAMS),
        ("clip", 1e9, 1e9, PARAMS),
    ],
)
def test_each_kind_of_shrinkage_by_hand(kind, g, b, expected):
    found = shrink(PARAMS, PerGroup(g, b), kind)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-7)


def test_shrinking_acts_on_the_weights_after_the_update():
    tx = optax.chain(optax.sgd(1.0), shrink_weights(0.5))
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    after = optax.apply_updates(PARAMS, updates)
    np.testing.assert_allclose(after["kernel_g"], (PARAMS["kernel_g"] - 1) / 2)
    np.testing.assert_allclose(after["bias_g"], 1 + (PARAMS["bias_g"] - 1 - 1) / 2)
    np.testing.assert_array_equal(after["kernel_r"], PARAMS["kernel_r"] - 1)


def test_penalties_are_the_slope_of_their_value_and_pull_b_g_towards_1():
    l1, l2 = PerGroup(0.1, 0.2), PerGroup(0.3, 0.0)
    tx = penalize_quadratic(l1=l1, l2=l2)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    added, _ = tx.update(zero, tx.init(PARAMS), PARAMS)
    for name, leaf in PARAMS.items():
        for i in np.ndindex(leaf.shape):
            value = lambda delta, name=name, leaf=leaf, i=i: float(
                quadratic_penalty(PARAMS | {name: leaf.at[i].add(delta)}, l1, l2)
            )
            slope = (value(1e-2) - value(-1e-2)) / 2e-2
            assert float(added[name][i]) == pytest.approx(slope, abs=2e-3)
    assert added["bias_g"][0] < 0 < added["bias_g"][1]  # 0.5 rises, 2 falls


def test_the_rates_are_state_so_that_one_program_serves_all():
    traced = []

    @jax.jit
    def update(grads, state):
        traced.append(1)
        return shrink_gradients(9.0).update(grads, state)[0]

    for gamma in (0.0, 0.5, 1.0):
        found = update(PARAMS, shrink_gradients(gamma).init(PARAMS))
        np.testing.assert_allclose(found["kernel_b"], gamma * PARAMS["kernel_b"])
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shrink_gradients(-1.0), r"gamma must be at least 0 .* found \(-1.0, -1.0\)"),
        (lambda: shrink_gradients(0.1, float("nan")), "gamma must be at least 0"),
        (lambda: shrink_weights(1.5), "alphas shrink, so they are at most 1, found"),
        (lambda: shrink_weights(1.0, kind="hard"), "kind='hard' is unknown; it is one of scale"),
        (lambda: penalize_quadratic(l1=(0, -1)), "l1 must be at least 0"),
        (lambda: shrink_weights(0.5).update(PARAMS, PerGroup(1, 1)), "needs parameters"),
        (lambda: penalize_quadratic().update(PARAMS, optax.EmptyState()), "needs parameters"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()
