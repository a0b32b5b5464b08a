"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import tpsgd
from experiments.harness import Measured
from experiments.parts.frozen_resnet20 import frozen_resnet20
from experiments.parts.tpsgd_adaptor import NOISE, shifted
from experiments.parts.tpsgd_rates import RATES, rates_of
from jaxlearn.core import Model, make_state, make_step, stack
from jaxlearn.data import MissingData
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.option_a_resnet import RESNET20, from_torch, option_a_resnet
from jaxlearn.rules.target_projection import target_projection

SMOKE = tpsgd.PRESETS["smoke"]
BATCH = {
    "inputs": jax.random.uniform(jax.random.key(0), (6, 8, 8, 1)),
    "labels": jnp.arange(6, dtype=jnp.int32),
}


def test_every_rule_of_a_network_has_the_networks_parameters():
    for network in ("mlp", "rnn"):
        shapes = set()
        for method in tpsgd.METHODS[:-1]:
            rule = tpsgd.rule_of(replace(SMOKE, network=network, widths=(5,), method=method))
            params = jax.eval_shape(rule.init, jax.random.key(0), BATCH)[0]
            params.pop("heads", None)
            shapes.add(str(jax.tree.map(lambda leaf: leaf.shape, params)))
        assert len(shapes) == 1, shapes


@pytest.mark.slow
def test_shallow_trains_the_readout_alone_at_its_own_rate():
    config = replace(SMOKE, widths=(5,), method="shallow", rate=0.5, momentum=0.0)
    rule, tx = tpsgd.rule_of(config), tpsgd.transform_of(config, 10**6)
    state = make_state(rule, tx, jax.random.key(0), BATCH)
    after, _ = make_step(rule, tx)(state, BATCH)
    grads, _, _ = rule.signal(state.params, state.state, BATCH, jax.random.key(0))
    assert not jax.tree.leaves(state.params["0"])
    moved = lambda p, g: p - 0.5 * g
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        after.params["1"],
        jax.tree.map(moved, state.params["1"], grads["1"]),
    )


def test_backpropagation_of_recurrent_networks_answers_at_the_end():
    rule = tpsgd.rule_of(replace(SMOKE, network="rnn", widths=(5,), method="BP"))
    params, state = rule.init(jax.random.key(0), BATCH)
    outputs, _ = rule.predict(params, state, BATCH)
    cell, h = params["0"]["cell"], np.zeros((6, 5))
    for t in range(8):
        x = np.asarray(BATCH["inputs"])[:, t, :, 0]
        h = np.tanh(x @ cell["i"]["kernel"] + cell["i"]["bias"] + h @ cell["h"]["kernel"])
    wanted = h @ params["1"]["Dense_0"]["kernel"] + params["1"]["Dense_0"]["bias"]
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_layer_by_layer_every_layer_has_its_own_turn_and_schedule():
    """As many steps for each, the last of them at a rate near 0."""
    config = replace(SMOKE, method="tpSGD-l2-layerwise", widths=(5, 4))
    assert tpsgd.turns_of(config) == 3
    rule, tx = tpsgd.rule_of(config), tpsgd.transform_of(config, 4)
    state, step = make_state(rule, tx, jax.random.key(0), BATCH), jax.jit(make_step(rule, tx))
    moves = []
    for _ in range(12):
        after, _ = step(state, BATCH)
        size = lambda a, b: float(jnp.abs(a - b).max())
        kernels = [
            (state.params[name]["Dense_0"]["kernel"], after.params[name]["Dense_0"]["kernel"])
            for name in "012"
        ]
        moves.append([size(*pair) for pair in kernels])
        state = after
    moved = np.array(moves) > 0
    np.testing.assert_array_equal(moved, np.repeat(np.eye(3, dtype=bool), 4, 0))
    for turn in range(3):
        assert moves[4 * turn + 3][turn] < moves[4 * turn + 1][turn]


@pytest.mark.slow
def test_with_recompute_the_second_layer_sees_the_first_after_its_step():
    config = replace(SMOKE, widths=(5, 4), hidden_rate=0.5)
    signal = {}
    for method in ("tpSGD-l2", "tpSGD-l2-recompute"):
        rule = tpsgd.rule_of(replace(config, method=method))
        params, state = rule.init(jax.random.key(0), BATCH)
        signal[method] = rule.signal(params, state, BATCH, jax.random.key(0))[0]
    plain, again = signal.values()
    same = lambda name: np.allclose(
        plain[name]["Dense_0"]["kernel"], again[name]["Dense_0"]["kernel"], rtol=1e-4, atol=1e-7
    )
    assert [same(name) for name in "01"] == [True, False]


def test_shifts_change_colours_or_add_the_same_noise_again():
    images = np.random.default_rng(0).uniform(size=(40, 8, 8, 3)).astype(np.float32)
    colour = shifted(images, "cifar10-colour", 1)
    np.testing.assert_array_equal(colour[..., [1, 2, 0]], images)
    assert not np.array_equal(colour, images)
    noisy = shifted(images, "cifar10-noise", 1)
    inner = (images > 0.4) & (images < 0.6)  # four standard deviations from being cut
    assert (noisy - images)[inner].std() == pytest.approx(NOISE, rel=0.1)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    np.testing.assert_array_equal(noisy, shifted(images, "cifar10-noise", 1))
    assert not np.array_equal(noisy, shifted(images, "cifar10-noise", 2))
    np.testing.assert_array_equal(shifted(images, "cifar10", 1), images)
    with pytest.raises(ValueError, match="shift='blur' is none of"):
        shifted(images, "blur", 1)


@pytest.mark.slow
def test_a_head_on_features_learns_what_it_would_over_the_frozen_network():
    """The published network as the first block, frozen, and its features computed beforehand."""
    images = jax.random.uniform(jax.random.key(1), (6, 32, 32, 3))
    try:
        features, logits = frozen_resnet20()
    except MissingData as missing:
        pytest.skip(str(missing))
    normal = (images - jnp.array(MEAN)) / jnp.array(STD)
    params, state = from_torch(resnet_weights(20))
    whole = stack([*option_a_resnet(RESNET20), classifier(10)])
    wanted = jax.jit(whole.apply)(params, state, normal)[0]
    np.testing.assert_allclose(logits(features(images)), wanted, rtol=1e-3, atol=1e-3)

    config = replace(SMOKE, network="adaptor", dataset="cifar10-noise", widths=(8,))
    blocks, readout = tpsgd.network_of(config)
    frozen = Model(lambda key, x: ({}, {}), lambda p, s, x, **options: (features(x), s))
    under = [stack([frozen, blocks[0]])]
    seen = []
    for inputs, hidden in ((features(images), blocks), (images, under)):
        rule = target_projection(hidden, readout, classes=10, scale=1.0)
        batch = BATCH | {"inputs": inputs}
        params, state = rule.init(jax.random.key(0), batch)
        if hidden is under:
            params["0"] = {"0": {}, "1": seen[0][0]["0"]}
            params |= {name: seen[0][0][name] for name in params if name != "0"}
            state = {"frozen": seen[0][2]["frozen"]}
        seen.append((params, rule.signal(params, state, batch, jax.random.key(0))[0], state))
    (_, ours, _), (_, theirs, _) = seen
    near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    jax.tree.map(near, ours["0"], theirs["0"]["1"])
    jax.tree.map(near, ours["1"], theirs["1"])


def test_rows_show_no_number_of_the_paper_and_rates_exist_for_all_of_them():
    for preset in ("small", "paper"):
        for row in tpsgd.rows(tpsgd.PRESETS[preset]):
            assert not row.paper
            rate, hidden, _ = row.config.rates
            assert rate > 0
            assert hidden > 0 or row.config.method in ("shallow", "frozen")


def test_feedback_by_signs_has_the_rates_of_feedback_without():
    for kind in RATES:
        assert rates_of("sign-symmetry", kind) == rates_of("FA", kind)
        assert rates_of("sDFA", kind) == rates_of("DFA", kind)
    assert rates_of("FA", "adaptor") == RATES["adaptor"]["BP"]
    assert (
        rates_of("tpSGD-bce", "cnn") == rates_of("tpSGD-l2-layerwise", "cnn") == (0.1, 0.03, 1e-5)
    )


def test_the_smoke_table_has_every_rule_layer_loss_and_mode():
    made = [row.config for row in tpsgd.rows(SMOKE)]
    methods = {config.method for config in made}
    assert {*tpsgd.METHODS, *tpsgd.EXTRA} - {"frozen"} - methods == set()
    assert {config.network for config in made} == {"mlp", "cnn", "rnn", "gru", "lstm"}


@pytest.mark.parametrize("change", [{"network": "vgg11"}, {"channels": (4, 4, 4, 4)}])
def test_networks_that_pool_more_often_than_the_image_allows_say_so(change):
    rule = tpsgd.rule_of(replace(SMOKE, **({"network": "cnn"} | change)))
    with pytest.raises(ValueError, match="do not divide a map"):
        jax.eval_shape(rule.init, jax.random.key(0), BATCH)


def test_programs_have_the_batch_on_every_chip():
    program = tpsgd.program(replace(SMOKE, batch=4))
    assert program.batch["inputs"].shape == (256 * 4, 8, 8, 1)


def measured(**change):
    accuracy = {
        "BP": 86.0, "FA": 85.0, "DFA": 85.0, "DRTP": 83.0, "tpSGD-l2": 84.0, "tpSGD-l1": 84.0,
        "shallow": 81.0,
    }  # fmt: skip
    rows = {
        f"{name} {method}": {"accuracy": [value]}
        for name in ("MLP-1", "MLP-2", "MLP-4", "CNN", "RNN")
        for method, value in accuracy.items()
    }
    rows["MLP-4 tpSGD-l2"] = {"accuracy": [80.0]}
    for name, frozen in (("colour", 70.0), ("noise", 20.0)):
        for method, value in (("frozen", frozen), ("BP", 76.0), ("tpSGD-l2", 75.0)):
            rows[f"{name} {method}"] = {"accuracy": [value]}
    mb = lambda *values: dict(zip(("temp_mb_2", "temp_mb_4", "temp_mb_8"), map(list, values)))  # noqa: B905
    rows["depth tpSGD-l2"], rows["depth BP"] = mb([5.0], [5.0], [5.1]), mb([9.0], [16.0], [30.0])
    times = lambda *values: {f"temp_mb_{28 * 2**i}": [v] for i, v in enumerate(values)}
    rows["length tpSGD-l2"], rows["length BP"] = times(1.0, 1.0, 1.0), times(2.0, 4.0, 8.0)
    for name, value in change.items():
        rows[name.replace("__", " ").replace("_", "-")] = value
    return Measured(rows)


@pytest.mark.parametrize(
    ("row", "value", "failing"),
    [
        ("FA", {}, set()),
        ("CNN__tpSGD_l2", {"accuracy": [80.9]}, {"bp", "shallow", "drtp"}),
        ("MLP_4__tpSGD_l2", {"accuracy": [85.0]}, {"gap-grows-with-depth"}),
        ("colour__frozen", {"accuracy": [72.5]}, {"adaptor-adapts"}),
        ("noise__BP", {"accuracy": [77.5]}, {"adaptor-near-bp"}),
        (
            "depth__tpSGD_l2",
            {"temp_mb_2": [9.0], "temp_mb_4": [9.0], "temp_mb_8": [16.0]},
            {"half-the-memory"},
        ),
        (
            "length__tpSGD_l2",
            {"temp_mb_28": [1.0], "temp_mb_56": [1.0], "temp_mb_112": [1.1]},
            {"memory-flat-in-time"},
        ),
    ],
)
def test_each_claim_fails_on_figures_against_it(row, value, failing):
    claims = tpsgd.claims(measured(**{row: value}))
    wrong = {c.id.removeprefix("cnn-tpsgd-l2-beside-") for c in claims if not c.holds}
    assert wrong == failing


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"method": "BPP"}, "method='BPP' is none of"),
        ({"rate": -1.0}, "have to be 0 or more"),
        ({"widths": ()}, r"widths=\(\); the network needs a hidden layer"),
        ({"network": "cnn", "widths": (), "channels": ()}, "needs a hidden layer"),
        ({"dataset": "spoken_digits"}, "takes images"),
        ({"dataset": "cifar10-noise"}, "adaptors go with the datasets"),
        ({"method": "frozen"}, '"frozen" is theirs alone'),
        ({"network": "adaptor"}, "network='adaptor', dataset='digits'"),
    ],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMOKE, **change)
