"""Identities of target projection, against equations in NumPy and automatic differentiation."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import FROZEN, from_linen, make_state, make_step, reparametrize, stack, trees
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.heads.projection import half_normal, signed_uniform
from jaxlearn.models.option_a_resnet import option_a_resnet
from jaxlearn.models.shallow_blocks import DenseBlock, conv_blocks
from jaxlearn.models.tiny import DenseRelu
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.target_losses import l1, l2, linear
from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.direct_random_target_projection import direct_random_target_projection
from jaxlearn.rules.target_projection import target_projection
from tests.rules import tanh_network as oracle

BATCH, KEY = oracle.a_batch(), oracle.KEY


NETWORK = oracle.network()


@cache
def made(**options):
    """A rule over the oracle's network with a compiled signal, its first parameters and state."""
    rule = target_projection(*NETWORK, classes=oracle.CLASSES, **options)
    seeds = bool(options.get("regenerate"))
    return rule._replace(signal=jax.jit(rule.signal)), *start(seeds)


@cache
def start(seeds):
    """Parameters and state, which depend on no option but this one."""
    rule = target_projection(*NETWORK, classes=oracle.CLASSES, regenerate=seeds)
    return jax.jit(rule.init)(KEY, BATCH)


def codes_of(state):
    return [np.asarray(state[FROZEN]["heads"][name]["codes"], np.float64) for name in "01"]


@pytest.mark.parametrize("loss", ["l2", "l1"])
def test_identity_1_updates_follow_the_equations(loss):
    """dW = -mean [(t - y) sigma'(z)] a^T, and its signs for l1: minus half the gradient of J."""
    rule, params, state = made() if loss == "l2" else made(loss=l1)
    grads, _, metrics = rule.signal(params, state, BATCH, KEY)
    inputs, _ = oracle.forward(params, BATCH)
    labels, share = np.asarray(BATCH["labels"]), oracle.shares(BATCH)
    residuals = [codes[labels] - inputs[i + 1] for i, codes in enumerate(codes_of(state))]
    shaped = residuals if loss == "l2" else [np.sign(r) for r in residuals]
    oracle.assert_signals(grads, oracle.expected(params, BATCH, [-share * r for r in shaped]))
    cosines = [
        (codes[labels] * inputs[i + 1]).sum(1)
        / np.linalg.norm(codes[labels], axis=1)
        / np.linalg.norm(inputs[i + 1], axis=1)
        for i, codes in enumerate(codes_of(state))
    ]
    for name, cosine in zip("01", cosines, strict=True):
        np.testing.assert_allclose(metrics[f"alignment/{name}"], (share[:, 0] * cosine).sum(), 1e-4)


def test_identity_1_the_l2_signal_is_half_the_gradient_of_one_layer():
    block = NETWORK[0][0]
    rule, params, state = made()
    codes = state[FROZEN]["heads"]["0"]["codes"]

    def squared(own):
        y, _ = block.apply(own, {}, BATCH["inputs"])
        return jnp.mean(BATCH["weight"] * ((codes[BATCH["labels"]] - y) ** 2).sum(1))

    grads, _, _ = rule.signal(params, state, BATCH, KEY)
    half = jax.tree.map(lambda g: g / 2, jax.jit(jax.grad(squared))(params["0"]))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), grads["0"], half)


def test_identity_1_l1_uses_the_signs_of_the_residual_alone():
    y, residual = jax.random.normal(KEY, (2, 4, 5))
    slope = jax.grad(lambda y, r: l1(jax.lax.stop_gradient(y) + r, y).sum())
    np.testing.assert_array_equal(slope(y, residual), slope(y, 3 * residual))
    np.testing.assert_array_equal(slope(y, residual), -jnp.sign(residual))


def test_identity_2_the_linear_loss_is_drtp_bit_for_bit():
    rule, params, state = made(loss=linear)
    drtp = direct_random_target_projection(*NETWORK, classes=oracle.CLASSES)
    mirrored = jax.tree.map(jnp.negative, state)
    ours, _, _ = rule.signal(params, state, BATCH, KEY)
    theirs, _, _ = jax.jit(drtp.signal)(params, mirrored, BATCH, KEY)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_identity_3_a_layer_knows_nothing_of_those_above_and_moves_none_below():
    rule, params, state = made()
    grads, _, _ = rule.signal(params, state, BATCH, KEY)
    above = params | {name: trees.scale(2.0, params[name]) for name in "12"}
    moved, _, _ = rule.signal(above, state, BATCH, KEY)
    jax.tree.map(np.testing.assert_array_equal, moved["0"], grads["0"])
    loss_of = lambda name: lambda params: rule.signal(params, state, BATCH, KEY)[2][f"loss/{name}"]
    slopes = jax.jit(lambda p: [jax.grad(loss_of(name))(p) for name in "012"])(params)
    for i, slope in enumerate(slopes):
        for j in range(3):
            zero = all(not np.any(leaf) for leaf in jax.tree.leaves(slope[str(j)]))
            assert zero == (i != j), (i, j)


def test_identity_4_without_blocks_it_is_softmax_regression():
    rule = target_projection([], from_linen(linen.Dense(3)), classes=3)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    grads, _, _ = jax.jit(rule.signal)(params, state, BATCH, KEY)
    x, layer = np.asarray(BATCH["inputs"], np.float64), params["0"]
    error = oracle.output_error(x @ np.asarray(layer["kernel"], np.float64), BATCH)
    np.testing.assert_allclose(grads["0"]["kernel"], x.T @ error, atol=1e-6)
    np.testing.assert_allclose(grads["0"]["bias"], error.sum(0), atol=1e-6)


def test_identity_5_codes_stay_and_come_back_from_the_key():
    rule, *_ = made()
    tx = optax.sgd(0.1, 0.9)
    start = jax.jit(lambda key: make_state(rule, tx, key, BATCH))
    state, step = start(KEY), jax.jit(make_step(rule, tx), donate_argnums=0)
    before = jax.tree.map(np.asarray, state.state)
    for _ in range(5):
        state, _ = step(state, BATCH)
    jax.tree.map(np.testing.assert_array_equal, state.state, before)
    jax.tree.map(np.testing.assert_array_equal, start(KEY).state, before)
    seeds, params, kept = made(regenerate=True)
    assert sum(leaf.size for leaf in jax.tree.leaves(kept)) == 2 * 3
    again = seeds.signal(params, kept, BATCH, KEY)[0]
    stored = rule.signal(params, made()[2], BATCH, KEY)[0]
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), again, stored)


def test_identity_7_a_layer_on_its_targets_does_not_move():
    """Whole numbers, so that the outputs are exact however they are computed."""
    draw = np.random.default_rng(1)
    x, w, b = (draw.integers(-2, 3, shape).astype(np.float32) for shape in ((3, 4), (4, 5), (5,)))
    block, readout = from_linen(DenseBlock(5, linen.relu)), from_linen(DenseBlock(3, None))
    rule = target_projection([block], readout, classes=3)
    batch = {"inputs": jnp.asarray(x), "labels": jnp.arange(3)}
    params, _ = jax.jit(rule.init)(KEY, batch)
    params["0"] = {"Dense_0": {"kernel": jnp.asarray(w), "bias": jnp.asarray(b)}}
    signal = jax.jit(rule.signal)

    def at(codes):
        state = {FROZEN: {"heads": {"0": {"codes": jnp.asarray(codes)}}}}
        return signal(params, state, batch, KEY)[0]["0"]["Dense_0"]["kernel"]

    y = np.maximum(x @ w + b, 0)
    assert not np.any(at(y))
    assert np.any(at(y + 1))


def test_identity_8_memory_of_the_sweep_is_flat_in_depth():
    width, size = 64, 8192
    layer, end = from_linen(DenseRelu(width)), from_linen(linen.Dense(10))
    batch = {
        "inputs": jax.ShapeDtypeStruct((size, width), jnp.float32),
        "labels": jax.ShapeDtypeStruct((size,), jnp.int32),
    }

    def reserved(rule):
        params, state = jax.eval_shape(rule.init, KEY, batch)
        compiled = jax.jit(rule.signal).lower(params, state, batch, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    ours = [
        reserved(target_projection([layer] * n, end, classes=10, draw=half_normal, loop=True))
        for n in (4, 12)
    ]
    theirs = [reserved(backprop(stack([layer] * n + [end]), cross_entropy)) for n in (4, 12)]
    assert abs(ours[1] - ours[0]) < 0.05 * ours[0]
    assert theirs[1] - theirs[0] > 7 * 4 * width * size
    assert ours[1] < 0.5 * theirs[1]


def test_the_next_layer_can_see_the_updated_one():
    """With `recompute` block 1 learns from what block 0 gives after its own step."""
    rate = 0.3
    rule, params, state = made(recompute=rate)
    grads, _, _ = rule.signal(params, state, BATCH, KEY)
    first = made()[0].signal
    before = first(params, state, BATCH, KEY)[0]
    moved = params | {"0": trees.add(params["0"], trees.scale(-rate, before["0"]))}
    after = first(moved, state, BATCH, KEY)[0]
    near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(near, grads["0"], before["0"])
    jax.tree.map(near, grads["1"], after["1"])
    assert not np.allclose(grads["1"]["Dense_0"]["kernel"], before["1"]["Dense_0"]["kernel"], 1e-3)


@pytest.mark.parametrize("per_channel", [False, True])
def test_convolutions_have_targets_before_pooling(per_channel):
    blocks, readout = conv_blocks(3, (2, "pool"), (4,), size=3)
    batch = {"inputs": jax.random.normal(KEY, (5, 4, 4, 1)), "labels": jnp.array([0, 1, 2, 0, 1])}
    rule = target_projection(blocks, readout, classes=3, per_channel=per_channel)
    params, state = jax.jit(rule.init)(KEY, batch)
    codes = state[FROZEN]["heads"]["0"]["codes"]
    assert codes.shape == ((3, 1, 1, 2) if per_channel else (3, 4, 4, 2))
    grads, _, _ = jax.jit(rule.signal)(params, state, batch, KEY)
    x = np.pad(np.asarray(batch["inputs"], np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, :, :, 0]
    own = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["0"]["Conv_0"])
    y = np.tanh(np.einsum("bijpq,pqo->bijo", patches, own["kernel"][:, :, 0]) + own["bias"])
    error = (y - np.asarray(codes, np.float64)[batch["labels"]]) * (1 - y**2) / 5
    found = grads["0"]["Conv_0"]
    wanted = np.einsum("bijpq,bijo->pqo", patches, error)
    np.testing.assert_allclose(found["kernel"][:, :, 0], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["bias"], error.sum((0, 1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_residual_block_has_one_target_at_its_output_and_learns_within():
    """Its own loss by automatic differentiation of the block alone, normalisation included."""
    blocks = option_a_resnet((1,), (2,))
    batch = {"inputs": jax.random.normal(KEY, (5, 4, 4, 3)), "labels": jnp.array([0, 1, 2, 0, 1])}
    rule = target_projection(blocks, classifier(3), classes=3, draw=half_normal)
    params, state = jax.jit(rule.init)(KEY, batch)
    heads = state[FROZEN]["heads"]
    assert [heads[name]["codes"].shape for name in "01"] == [(3, 4, 4, 2)] * 2
    grads, _, _ = jax.jit(rule.signal)(params, state, batch, KEY)
    stem, _ = blocks[0].apply(params["0"], trees.part(state, "0"), batch["inputs"], train=True)

    def loss(own):
        y, _ = blocks[1].apply(own, trees.part(state, "1"), stem, train=True)
        return jnp.mean(l2(heads["1"]["codes"][batch["labels"]], y))

    near = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(near, grads["1"], jax.jit(jax.grad(loss))(params["1"]))


def test_any_block_can_be_read_by_its_codes():
    _, params, state = made()
    unlabelled = {"inputs": BATCH["inputs"]}
    for read in (0, 1):
        rule = target_projection(*NETWORK, classes=oracle.CLASSES, read=read)
        outputs, after = jax.jit(rule.predict)(params, state, unlabelled)
        y = oracle.forward(params, BATCH)[0][read + 1]
        distances = ((y[:, None] - codes_of(state)[read][None]) ** 2).sum(2)
        np.testing.assert_allclose(outputs, -distances, rtol=1e-4, atol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, after, state)


def test_weights_of_zero_learn_where_those_of_backprop_cannot():
    block, readout = (
        from_linen(DenseBlock(5, zero=True)),
        from_linen(DenseBlock(3, None, zero=True)),
    )
    ours = target_projection([block], readout, classes=3)
    theirs = backprop(stack([block, readout]), cross_entropy)
    params, state = jax.jit(ours.init)(KEY, BATCH)
    found = jax.jit(ours.signal)(params, state, BATCH, KEY)[0]["0"]["Dense_0"]["kernel"]
    stuck = jax.jit(theirs.signal)({n: params[n] for n in "01"}, {}, BATCH, KEY)[0]
    assert np.all(np.abs(found).max(0) > 1e-3)
    assert not np.any(stuck["0"]["Dense_0"]["kernel"])


def test_an_adaptor_learns_over_a_frozen_backbone():
    rule = reparametrize(made()[0], freeze(lambda path: not path.startswith("0/")))
    tx = optax.sgd(0.3)
    start = jax.jit(lambda key: make_state(rule, tx, key, BATCH))(KEY)
    state, step = start, jax.jit(make_step(rule, tx))
    for _ in range(3):
        state, _ = step(state, BATCH)
    jax.tree.map(np.testing.assert_array_equal, state.state[FROZEN], start.state[FROZEN])
    assert not np.array_equal(
        state.params["1"]["Dense_0"]["kernel"], start.params["1"]["Dense_0"]["kernel"]
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"draw": [signed_uniform]}, "one draw for each of 2 blocks, found 1"),
        ({"read": 2}, "read must name a block in 0..1"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"scale": "std"}, "scale must be positive or 'rms'"),
        ({"classes": 1}, "classes must be at least 2"),
    ],
)
def test_wrong_options_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        target_projection(*oracle.network(), **({"classes": 3, "loss": l2} | change))
