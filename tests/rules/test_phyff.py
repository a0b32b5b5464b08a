"""Forward-forward training around physics: the identities of the method."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import FROZEN, make_state, make_step
from jaxlearn.data.negative_data import overwrite_label, wrong_labels
from jaxlearn.models.physical import on_host, physical_layer
from jaxlearn.models.tiny import CLASSES, tiny_batch
from jaxlearn.rules.phyff import cosine, phyff, phyff_trainer, sum_of_squares

BATCH, LABELS, KEY = tiny_batch(24), overwrite_label(CLASSES, 2.0), jax.random.key(0)
MIX = np.random.default_rng(0).normal(size=(16, 9)).astype(np.float32)


def physics(h):
    """A fixed system for rows of any length."""
    return jnp.abs(h @ MIX[: h.shape[1]])


@jax.custom_jvp
def brittle(h):
    """The same system; asking for its derivative raises."""
    return physics(h)


@brittle.defjvp
def _(primals, tangents):
    raise AssertionError("someone asked for the derivative of the physics")


@jax.custom_jvp
def poisoned(h):
    """The same system; its derivative is not a number."""
    return physics(h)


@poisoned.defjvp
def _(primals, tangents):
    return physics(*primals), jnp.full((len(primals[0]), 9), jnp.nan)


def layers(system=physics, depth=2):
    return [physical_layer(system, 7) for _ in range(depth)]


def trained(system, steps=3, inner_steps=4, criterion=None, depth=2):
    trainer = phyff_trainer(
        layers(system, depth),
        LABELS,
        optax.adam(0.01),
        inner_steps=inner_steps,
        criterion=criterion,
    )
    state, step = jax.jit(trainer.state)(KEY, BATCH), jax.jit(trainer.step)
    for _ in range(steps):
        state, metrics = step(state, BATCH)
    return trainer, state, metrics


@cache
def plain():
    """The training that others are compared with."""
    return trained(physics)


@pytest.mark.parametrize("system", [brittle, poisoned], ids=["raises", "nan"])
def test_identity_1_the_derivative_of_the_physics_is_never_asked_for(system):
    _, state, _ = trained(system)
    jax.tree.map(np.testing.assert_array_equal, state.params, plain()[1].params)


def test_identity_1_nor_is_it_from_outside_of_the_rule():
    rule = phyff(layers(brittle), LABELS)
    params, own = jax.jit(rule.init)(KEY, BATCH)

    def total(params):
        return rule.signal(params, own, BATCH, KEY)[2]["loss"]

    slope = jax.jit(jax.grad(total))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_identity_1_a_device_on_the_host_gives_the_same_training():
    calls = []

    def measure(h):
        calls.append(len(h))
        return np.abs(h @ MIX[: h.shape[1]])

    _, state, _ = trained(on_host(measure, 9))
    assert calls == [48] * 6, "one measurement of both views per layer and step, whatever n_int"
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    jax.tree.map(close, state.params, plain()[1].params)


def test_identity_3_no_local_loss_reaches_the_weights_of_another_layer():
    rule = phyff(layers(), LABELS)
    params, state = jax.jit(rule.init)(KEY, BATCH)

    @jax.jit
    def both(params):
        signal = lambda p: rule.signal(p, state, BATCH, KEY)
        losses = lambda p: jnp.stack([signal(p)[2][f"loss/{l}"] for l in "01"])
        return jax.jacobian(losses)(params), signal(params)[0]

    jacobian, signal = both(params)
    for l, (own, other) in enumerate(("01", "10")):
        assert all(np.all(leaf[l] == 0) for leaf in jax.tree.leaves(jacobian[other]))
        close = lambda a, b, l=l: np.testing.assert_allclose(a[l], b, atol=1e-6)
        jax.tree.map(close, jacobian[own], signal[own])
        assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(signal[own]))


@pytest.mark.parametrize("absolute", [True, False])
def test_identity_4_flipping_a_unit_changes_nothing_under_the_absolute_value(absolute):
    rule = phyff(layers(depth=1), LABELS, cosine(absolute=absolute))
    params, state = jax.jit(rule.init)(KEY, BATCH)
    sign = np.where(np.arange(7) == 2, -1, 1).astype(np.float32)
    flipped = params | {"0": jax.tree.map(lambda leaf: leaf * sign, params["0"])}
    predict = jax.jit(rule.predict)
    a, b = (predict(p, state, BATCH)[0] for p in (params, flipped))
    if absolute:
        np.testing.assert_allclose(a, b, atol=1e-6)
    else:
        assert np.abs(a - b).max() > 1e-3


def test_identity_5_one_layer_predicts_the_label_of_the_smallest_angle():
    rule = phyff(layers(depth=1), LABELS)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    scores, _ = jax.jit(rule.predict)(params, state, BATCH)
    W, b = (np.asarray(params["0"]["linear"][k], np.float64) for k in ("kernel", "bias"))
    xi = np.asarray(state[FROZEN]["heads"]["0"]["direction"], np.float64)
    for c in range(CLASSES):
        x = np.asarray(BATCH["inputs"], np.float64).copy()
        x[:, :CLASSES] = 2 * np.eye(CLASSES)[c]
        h = np.abs(np.concatenate([np.abs(x @ MIX), x], 1) @ W + b)
        want = h @ xi / np.linalg.norm(h, axis=1) / np.linalg.norm(xi)
        np.testing.assert_allclose(scores[:, c], want, atol=1e-5)


def test_identity_6_directions_have_length_one_differ_and_stay():
    trainer, state, _ = plain()
    before = jax.jit(trainer.state)(KEY, BATCH).state[FROZEN]["heads"]
    after = state.state[FROZEN]["heads"]
    xi = [np.asarray(after[name]["direction"]) for name in "01"]
    for direction in xi:
        assert abs(np.linalg.norm(direction) - 1) < 1e-4
    assert abs(xi[0] @ xi[1]) < 0.95
    jax.tree.map(np.testing.assert_array_equal, before, after)
    rule = trainer.rule
    ordinary = jax.jit(lambda: make_state(rule, optax.adam(0.1), KEY, BATCH))()
    moved, _ = jax.jit(make_step(rule, optax.adam(0.1)))(ordinary, BATCH)
    jax.tree.map(np.testing.assert_array_equal, moved.state, ordinary.state)


def test_identity_8_wrong_labels_are_drawn_anew_at_every_step():
    trainer = phyff_trainer(layers(depth=1), LABELS, optax.sgd(0.0), inner_steps=1)
    state, step = jax.jit(trainer.state)(KEY, BATCH), jax.jit(trainer.step)
    losses = []
    for _ in range(3):  # weights stand still, only the negatives change
        state, metrics = step(state, BATCH)
        losses.append(float(metrics["loss"]))
    assert len(set(losses)) == 3


@pytest.mark.slow
def test_one_inner_step_on_one_layer_is_the_step_of_the_rule():
    tx = optax.adam(0.05)
    trainer = phyff_trainer(layers(depth=1), LABELS, tx, inner_steps=1)
    a, b = (
        jax.jit(trainer.state)(KEY, BATCH),
        jax.jit(lambda: make_state(trainer.rule, tx, KEY, BATCH))(),
    )
    one, other = jax.jit(trainer.step), jax.jit(make_step(trainer.rule, tx))
    for _ in range(3):
        (a, m), (b, n) = one(a, BATCH), other(b, BATCH)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, a.params, b.params)
    assert abs(m["loss"] - n["loss"]) < 1e-6


@pytest.mark.slow
def test_inner_steps_are_adam_on_a_constant_measurement_and_the_update_is_handed_on():
    """The published loop written out, with numpy measurements and one Adam per layer."""
    trainer, state, metrics = trained(physics, steps=2, inner_steps=3)
    tx, start = optax.adam(0.01), jax.jit(trainer.state)(KEY, BATCH)
    params, xi = start.params, [start.state[FROZEN]["heads"][n]["direction"] for n in "01"]
    moments = [tx.init(params[n]) for n in "01"]

    def loss(own, v, xi):
        h = jnp.abs(v @ own["linear"]["kernel"] + own["linear"]["bias"])
        g = h @ xi / jnp.linalg.norm(h, axis=1)
        return jnp.log(1 + jnp.exp(-4 * (g[:24] - g[24:]))).mean()

    slope = jax.jit(jax.value_and_grad(loss))
    for number in range(2):
        key, _ = jax.random.split(jax.random.fold_in(start.key, number))
        wrong = wrong_labels(key, BATCH, CLASSES)
        h = jnp.concatenate([LABELS.write(BATCH["inputs"], y) for y in (BATCH["labels"], wrong)])
        losses = []
        for l, name in enumerate("01"):
            v = jnp.asarray(np.concatenate([physics(h), h], 1))
            own = params[name]
            for _ in range(3):
                value, grads = slope(own, v, xi[l])
                updates, moments[l] = tx.update(grads, moments[l], own)
                own = optax.apply_updates(own, updates)
                losses.append(value)
            params = params | {name: own}
            h = v @ own["linear"]["kernel"] + own["linear"]["bias"]
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, state.params, params)
    np.testing.assert_allclose(metrics["loss"], sum(losses) / 3, rtol=1e-4)


def test_the_sum_of_squares_is_blind_to_the_length_behind_the_first_layer():
    trainer, _, metrics = trained(physics, steps=1, criterion=sum_of_squares(2.0))
    start = jax.jit(trainer.state)(KEY, BATCH)
    assert "frozen" not in start.state, "nothing is drawn for this goodness"
    scaled = start.params | {"0": jax.tree.map(lambda leaf: 3 * leaf, start.params["0"])}
    one, other = (
        jax.jit(trainer.rule.predict)(p, start.state, BATCH)[0] for p in (start.params, scaled)
    )
    first = phyff(layers(depth=1), LABELS, sum_of_squares())
    alone, _ = jax.jit(first.predict)({k: start.params[k] for k in ("0", "heads")}, {}, BATCH)
    # layer 1 is scaled by 9, layer 2 sees rows of length one and does not notice
    np.testing.assert_allclose(other - one, 8 * alone, rtol=1e-3)
    assert np.isfinite(metrics["loss"])


def test_memory_does_not_grow_with_depth():
    wide = {"inputs": jnp.zeros((2048, 64)), "labels": jnp.zeros(2048, jnp.int32)}

    def temp(depth):
        net = [physical_layer(jnp.abs, 64) for _ in range(depth)]
        trainer = phyff_trainer(net, LABELS, optax.sgd(0.1), inner_steps=3)
        state = jax.eval_shape(trainer.state, KEY, wide)
        compiled = jax.jit(trainer.step).lower(state, wide).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    shallow, deep = temp(2), temp(6)
    assert deep < 1.3 * shallow


def test_wrong_use_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        phyff([], LABELS)
    with pytest.raises(ValueError, match="inner_steps=0"):
        phyff_trainer(layers(), LABELS, optax.sgd(0.1), inner_steps=0)
