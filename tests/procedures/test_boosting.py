"""Boosted networks: merging, prefixes, monotone training, subsets, devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import from_functions, make_state, make_step
from jaxlearn.models.shallow import fold_scaler, shallow
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.boosting import binary_logistic, softmax_cross_entropy, squared_error
from jaxlearn.procedures.boosting import (
    Learner,
    begin,
    best_stage,
    boost,
    boosting_step,
    merge,
    on_features,
    prefix,
    staged,
    subset,
)
from jaxlearn.procedures.lbfgs import lbfgs
from jaxlearn.rules import backprop
from tests.devices import run_on

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (60, 3))
CURVE = jnp.sin(2 * X[:, :1]) + X[:, 1:2] ** 2
LOSSES = {
    "squared": squared_error(),
    "binary": binary_logistic(),
    "softmax": softmax_cross_entropy(),
}
TARGETS = {
    "squared": jnp.concatenate([CURVE, jnp.cos(2 * X[:, 2:])], 1),  # two outputs
    "binary": jnp.where(CURVE > 0.8, 1.0, -1.0),
    "softmax": jax.nn.one_hot(jnp.digitize(CURVE[:, 0], jnp.array([0.2, 1.0])), 3),
}
STAGES, QUICK = 5, Learner(units=2, subsample=0.75, max_iterations=30)


@pytest.fixture(scope="module")
def grown():
    """A boosted network for every loss, with its history."""
    fit = lambda name: boost(X, TARGETS[name], KEY, LOSSES[name], stages=STAGES, learner=QUICK)
    return {name: fit(name) for name in LOSSES}


def by_hand(boosted, x, stages):
    """The definition in double precision: F_0 + sum of rho_t f_t(x)."""
    exact = lambda leaf: np.asarray(leaf, np.float64)
    F = exact(boosted.initial) + np.zeros((len(x), 1))
    for t in range(stages):
        block = jax.tree.map(lambda leaf, t=t: exact(leaf[t]), boosted.blocks)
        z = exact(x) @ block["hidden"]["kernel"] + block["hidden"]["bias"]
        f = (1 / (1 + np.exp(-z))) @ block["out"]["kernel"] + block["out"]["bias"]
        F = F + exact(boosted.rho[t]) * f
    return F


@pytest.mark.parametrize("name", LOSSES)
def test_identity_1_the_merged_network_is_the_boosted_score(grown, name):
    loss, (boosted, history) = LOSSES[name], grown[name]
    params = merge(boosted, loss.kappa)
    scores = by_hand(boosted, X, STAGES)
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    z = np.asarray(X, np.float64) @ exact["hidden"]["kernel"] + exact["hidden"]["bias"]
    merged = (1 / (1 + np.exp(-z))) @ exact["out"]["kernel"] + exact["out"]["bias"]
    np.testing.assert_allclose(merged, loss.kappa * scores, rtol=1e-5, atol=1e-5)
    if name == "binary":
        probabilities = 1 / (1 + np.exp(-merged))
        np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-2 * scores)), atol=1e-6)
    # in single precision sums over large terms of both signs lose some digits
    y, _ = shallow(2 * STAGES, scores.shape[1]).apply(params, {}, X)
    np.testing.assert_allclose(y, loss.kappa * scores, rtol=1e-4, atol=1e-4)
    mean = loss.loss(TARGETS[name], jnp.asarray(scores, jnp.float32)).mean()
    np.testing.assert_allclose(history["loss"][-1], mean, rtol=1e-3)
    first = loss.loss(TARGETS[name], jnp.broadcast_to(boosted.initial, scores.shape)).mean()
    assert history["loss"][-1] < 0.6 * first


@pytest.mark.parametrize("name", LOSSES)
def test_identity_2_every_prefix_is_a_stage_of_the_cumulative_sum(grown, name):
    boosted, _ = grown[name]
    all_stages = staged(boosted, X)
    for t in (0, 2, STAGES):
        np.testing.assert_allclose(all_stages[t], by_hand(boosted, X, t), rtol=1e-4, atol=1e-4)
        if t:
            y, _ = shallow(2 * t, all_stages.shape[-1]).apply(merge(prefix(boosted, t)), {}, X)
            np.testing.assert_allclose(y, all_stages[t], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="there are 5 stages, found stages=6"):
        prefix(boosted, 6)


def test_the_best_stage_is_the_least_validation_loss(grown):
    loss, y = LOSSES["binary"], TARGETS["binary"]
    boosted = grown["binary"][0]._replace(rho=jnp.array([1.0, 1.0, 1.0, -9.0, 0.1]))
    losses = [float(loss.loss(y, jnp.asarray(by_hand(boosted, X, t))).mean()) for t in range(6)]
    assert best_stage(boosted, X, y, loss) == np.argmin(losses)
    assert np.argmin(losses) in (1, 2, 3)


def test_identity_3_training_error_never_rises_without_subsampling():
    learner = Learner(units=1, subsample=1.0, max_iterations=60)
    _, history = boost(X, CURVE, KEY, squared_error(), stages=12, learner=learner)
    assert np.diff(history["loss"]).max() <= 1e-6
    assert history["loss"][-1] < 0.2 * CURVE.var()


def test_identity_6_one_stage_is_one_network_fitted_to_what_the_mean_leaves():
    """SciPy, from there on, gets hardly lower on the objective of scikit-learn."""
    from scipy import optimize

    learner = Learner(units=2, subsample=1.0, max_iterations=300, tolerance=1e-9)
    boosted, history = boost(X, CURVE, KEY, squared_error(), stages=1, learner=learner)
    assert boosted.rho[0] == 1
    np.testing.assert_allclose(boosted.initial, CURVE.mean(0), rtol=1e-5)
    packed, unpack = jax.flatten_util.ravel_pytree(
        jax.tree.map(lambda leaf: leaf[0], boosted.blocks)
    )
    target = CURVE - CURVE.mean()

    @jax.jit
    def objective(vector):
        params = unpack(vector)
        miss = ((target - shallow(2, 1).apply(params, {}, X)[0]) ** 2).mean()
        kernels = [params[name]["kernel"] for name in ("hidden", "out")]
        return 0.5 * miss + 0.5e-4 / len(X) * sum((k**2).sum() for k in kernels)

    np.testing.assert_allclose(objective(packed), history["fit"][0], rtol=1e-4)
    theirs = optimize.minimize(
        lambda v: objective(v.astype(np.float32)).item(),
        packed,
        jac=lambda v: np.asarray(jax.grad(objective)(v.astype(np.float32)), np.float64),
        method="L-BFGS-B",
    )
    assert float(objective(packed)) <= theirs.fun * 1.05


def test_identity_8_subsets_have_the_exact_size_without_replacement():
    draws = [np.asarray(subset(jax.random.key(seed), 60, 0.33)) for seed in range(3)]
    for drawn in draws:
        assert len(drawn) == len(set(drawn.tolist())) == 19
    assert set(draws[0].tolist()) != set(draws[1].tolist())
    assert subset(KEY, 5, 1.0).tolist() == [0, 1, 2, 3, 4]


def test_the_newton_step_looks_at_all_examples_and_carries_the_learning_rate(grown):
    boosted, _ = grown["binary"]
    loss, y = binary_logistic(), TARGETS["binary"]
    block = jax.tree.map(lambda leaf: leaf[0], boosted.blocks)
    f, _ = shallow(2, 1).apply(block, {}, X)
    residual = loss.residual(y, jnp.broadcast_to(boosted.initial, y.shape))
    np.testing.assert_allclose(boosted.rho[0], loss.newton(y, residual, f), rtol=1e-4)


@pytest.mark.slow
def test_a_grid_shares_one_compilation_and_padding_is_empty(grown):
    """Rates and sizes vmapped; the full size is the network of its own."""
    fit = partial(boost, X, TARGETS["binary"], KEY, LOSSES["binary"], stages=STAGES, learner=QUICK)
    one = lambda rate, units, count: fit(
        learning_rate=rate, active_units=units, active_stages=count
    )[0]
    rates, units, counts = jnp.array([1.0, 0.1]), jnp.array([2, 1]), jnp.array([STAGES, 3])
    found = jax.jit(jax.vmap(one))(rates, units, counts)
    # rounding grows with the stages, so the first ones are compared
    np.testing.assert_allclose(found.rho[0, :2], grown["binary"][0].rho[:2], rtol=1e-3)
    assert not np.any(found.blocks["out"]["kernel"][1, :, 1])
    assert np.all(found.blocks["out"]["kernel"][1, :, 0])
    assert (np.asarray(found.rho[1]) != 0).tolist() == [True] * 3 + [False] * 2


def test_steps_in_the_loop_grow_what_boost_grows():
    """After few iterations of L-BFGS: every one of them multiplies what was rounded apart."""
    y, loss, short = TARGETS["softmax"], LOSSES["softmax"], QUICK._replace(max_iterations=3)
    state = begin(X, y, KEY, loss, stages=STAGES, learner=short)
    step, losses = jax.jit(boosting_step(loss, learner=short)), []
    for _ in range(3):
        state, found = step(state, {"inputs": X, "labels": y})
        losses.append(float(found["loss"]))
    expected, history = boost(X, y, KEY, loss, stages=STAGES, learner=short)
    np.testing.assert_allclose(losses, history["loss"][:3], rtol=1e-3)
    np.testing.assert_allclose(state.params.rho[:3], expected.rho[:3], rtol=1e-3)
    assert not np.any(state.params.rho[3:])


WORKER = """
import jax, jax.numpy as jnp, numpy as np
from jaxlearn.objectives.boosting import binary_logistic
from jaxlearn.procedures.boosting import Learner, begin, boosting_step
from jaxlearn.runtime import data_mesh, data_parallel, place, distribute
x = jax.random.normal(jax.random.key(0), (64, 3))
y = jnp.where(jnp.sin(2 * x[:, :1]) + x[:, 1:2] > 0, 1.0, -1.0)
learner = Learner(units=2, subsample=1.0, max_iterations=8)
ends = []
for devices in (1, 4):
    mesh = data_mesh(jax.devices()[:devices])
    state = begin(x, y, jax.random.key(1), binary_logistic(), stages=3, learner=learner)
    state, step = distribute(state, mesh), data_parallel(
        boosting_step(binary_logistic(), learner=learner), mesh)
    batch = place({"inputs": np.asarray(x), "labels": np.asarray(y)}, mesh)
    state, found = step(state, batch)
    ends.append([float(found["loss"]), float(found["fit"]), float(state.params.rho[0])])
np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3)
"""


@pytest.mark.slow
def test_four_devices_grow_the_stage_of_one():
    run_on(4, WORKER)


@pytest.mark.slow
def test_on_features_is_one_network_that_backprop_can_tune(grown):
    """Boosted on scaled features: scaler, units and features become one model."""
    features = from_functions(
        lambda key, x: {"scale": jnp.full(3, 2.0)}, lambda p, x: x * p["scale"]
    )
    variables = features.init(KEY, X)
    raw, _ = features.apply(*variables, X)
    mean, std = jnp.array([1.0, 0.0, -1.0]), jnp.array([2.0, 1.0, 0.5])
    boosted, _ = grown["softmax"]
    model, params, state = on_features(features, variables, fold_scaler(merge(boosted), mean, std))
    y, _ = model.apply(params, state, X)
    expected = staged(boosted, (raw - mean) / std)[-1]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    batch = {"inputs": X, "labels": TARGETS["softmax"].argmax(1)}
    rule, tx = backprop(model, cross_entropy), optax.adam(1e-2)
    tuned = make_state(rule, tx, KEY, batch)._replace(params=params)
    step, losses = jax.jit(make_step(rule, tx)), []
    for _ in range(20):
        tuned, found = step(tuned, batch)
        losses.append(float(found["loss"]))
    assert losses[-1] < losses[0]
    assert not np.array_equal(tuned.params["0"]["scale"], params["0"]["scale"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y": CURVE[:, 0]}, r"expected x \[N, D\] and y \[N, K\]"),
        ({"stages": 0}, "stages >= 1"),
        ({"learner": Learner(subsample=0.01)}, "at least one example"),
        ({"learner": Learner(activation="sine")}, "unknown activation 'sine'"),
    ],
)
def test_wrong_words_are_refused(change, text):
    words = {"x": X, "y": CURVE, "key": KEY, "loss": squared_error(), "stages": 2} | change
    with pytest.raises(ValueError, match=text):
        boost(**words)


def test_the_published_learner():
    assert Learner() == Learner(1, 0.5, "logistic", 1e-4, 200, 0.0)
    assert lbfgs(lambda x: (x**2).sum(), jnp.ones(2)).value < 1e-10
