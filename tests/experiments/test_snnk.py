"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import snnk
from experiments.harness import Measured, Run
from experiments.parts import snnk_closed, snnk_networks
from experiments.parts.snnk_estimates import errors
from jaxlearn.core import trees
from jaxlearn.data.uci import REGRESSION
from jaxlearn.models.layers.random_features import relu_features, universal_features

SMOKE, SMALL = snnk.PRESETS["smoke"], snnk.PRESETS["small"]


def test_identity_2_errors_fall_with_the_root_of_the_features():
    sizes, count = snnk.SIZES, 2**16
    for name, features in (
        ("cos", universal_features("cos", count, form="asymmetric")),
        ("relu", relu_features(count)),
    ):
        found = np.mean(
            [errors(name, features, count, sizes)(jax.random.key(s)) for s in (0, 1)], 0
        )
        slope = np.polyfit(np.log(sizes), np.log(found), 1)[0]
        assert abs(slope + 0.5) < 0.1, name


def test_the_low_rank_layer_has_no_fewer_weights_than_omega():
    of = lambda method: replace(SMALL, study="hidden", method=method, features=64)
    count = lambda method: sum(
        leaf.size
        for leaf in jax.tree.leaves(
            jax.eval_shape(
                snnk_networks.hidden_network(of(method)).init,
                jax.random.key(0),
                jnp.zeros((1, 28, 28, 1)),
            )[0]["1"]
        )
        if leaf.ndim == 2
    )
    assert count("relu") == 64 * 256
    assert 0.95 < count("low-rank") / count("relu") < 1.05
    assert count("dense") > 10 * count("relu")


def test_adapters_hold_what_the_claim_counts():
    def count(method):
        config = replace(SMALL, study="adapter", method=method, dataset="sst2", features=16)
        inputs = {"x": jnp.zeros((1, 4, 384)), "mask": jnp.ones((1, 4), bool)}
        init = snnk_networks.adapted_network(config).init
        params = jax.eval_shape(init, jax.random.key(0), inputs)[0]
        named = jax.tree.leaves_with_path(params)
        return sum(leaf.size for keys, leaf in named if "adapter" in jax.tree_util.keystr(keys))

    assert count("probe") == 0
    assert count("relu") == 2 * (384 * 16 + 384)
    assert count("bottleneck") == 2 * (2 * 384 * 32 + 32 + 384)


def test_bitfit_trains_biases_and_the_classifier():
    config = replace(SMALL, study="adapter", method="bitfit", dataset="sst2")
    inputs = {"x": jnp.zeros((1, 4, 384)), "mask": jnp.ones((1, 4), bool)}
    init = snnk_networks.adapted_network(config).init
    params = jax.eval_shape(init, jax.random.key(0), inputs)[0]
    theta, frozen = snnk.trained_part(config).init(None, params)
    paths = lambda tree: {trees.path(keys) for keys, _ in jax.tree.leaves_with_path(tree)}
    trained, kept = paths(theta), paths(frozen)
    assert {"classifier/kernel", "classifier/bias"} <= trained
    assert all(path.endswith(("kernel", "scale")) for path in kept)
    others = trained - {"classifier/kernel"}
    assert len(others) > 8
    assert all(path.endswith("bias") for path in others)


@pytest.mark.parametrize(("method", "layers"), [("none", 0), ("ffn", 1), ("every-ffn", 2)])
def test_uptraining_replaces_the_hidden_layers_of_the_top_or_all(method, layers):
    config = replace(SMALL, study="uptrain", method=method, dataset="digits", width=8, layers=2)
    network = snnk_networks.vit(config, method)
    x = jnp.zeros((1, 8, 8, 1))
    params = jax.eval_shape(network.init, jax.random.key(0), x)[0]
    named = [trees.path(keys) for keys, _ in jax.tree.leaves_with_path(params)]
    assert sum(path.endswith("omega") for path in named) == layers


def test_the_ridge_is_chosen_without_the_test_examples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int32)
    made = lambda part: {"inputs": x[part], "labels": y[part]}
    data = type("Data", (), {})()
    data.train, data.validation, data.test = (made(slice(i, i + 20)) for i in (0, 20, 40))
    fitted = snnk_closed.fitter([], lambda labels: jax.nn.one_hot(labels, 2))
    found = snnk_closed.accuracy(data, 0, fitted)
    data.test = {"inputs": data.test["inputs"], "labels": 1 - data.test["labels"]}
    assert snnk_closed.accuracy(data, 0, fitted) == pytest.approx(100 - found)
    assert found > 70


def test_closed_form_of_a_bundle_beats_chance_on_digits(tmp_path):
    config = replace(SMOKE, study="closed", method="ridge", features=64)
    found = snnk.train(config, [0], Run(tmp_path))[0]
    assert found["accuracy"] > 70
    assert found["layer_params"] == 640


def test_claims_compare_accuracy_and_cost():
    rows = {row.name: {} for row in snnk.rows(SMALL)}
    for name in rows:
        if name.startswith("kernel"):
            rows[name] = {"slope": [-0.5]}
        else:
            rows[name] = {"accuracy": [80.0], "layer_params": [100.0], "adapter_params": [100.0]}
    for m, accuracy in ((16, 60.0), (64, 70.0), (256, 78.0)):
        rows[f"hidden relu-SNNK {m}"] = {"accuracy": [accuracy], "layer_params": [20.0]}
    for table in ("concrete", "energy", "power"):
        rows[f"{table}, linear ridge"], rows[f"{table}, bundle of 2"] = (
            {"rmse": [2.0]},
            {"rmse": [1]},
        )
    rows["linear ridge"]["accuracy"] = [76.0]
    rows["adapter relu"] = {"accuracy": [79.0], "adapter_params": [60.0]}
    held = {claim.id: claim.holds for claim in snnk.claims(Measured(rows))}
    assert held == {
        "error-slope": True,
        "hidden-layer": True,
        "more-features": True,
        "closed-form": True,
        "tables": True,
        "adapter": False,
        "uptraining": True,
    }


def test_the_adapter_is_compared_with_none_where_that_is_better_than_the_bottleneck():
    rows = {row.name: {"accuracy": [80.0], "layer_params": [9.0]} for row in snnk.rows(SMALL)}
    rows |= {name: {"slope": [-0.5]} for name in rows if name.startswith("kernel")}
    rows |= {name: {"rmse": [1.0]} for name in rows if name.split(",")[0] in REGRESSION}
    found = {}
    for probe in (75.0, 77.0):
        for name, accuracy, size in (
            ("probe", probe, 0),
            ("bottleneck", 73.0, 50),
            ("relu", 75, 9),
        ):
            rows[f"adapter {name}"] = {"accuracy": [accuracy], "adapter_params": [float(size)]}
        found[probe] = {c.id: c for c in snnk.claims(Measured(rows))}["adapter"]
    assert found[75.0].holds
    assert not found[77.0].holds
    assert "-2.00 points from the probe" in found[77.0].measured


def test_the_paper_preset_has_the_authors_settings():
    made = {row.name: row.config for row in snnk.rows(snnk.PRESETS["paper"])}
    adapters = [config for name, config in made.items() if name.startswith("adapter")]
    assert len(adapters) == len(snnk.METHODS["adapter"])
    for config in adapters:
        assert (config.features, config.blocks, config.floor) == (8, True, 0.0)
        assert (config.learning_rate, config.weight_decay, config.warmup) == (1e-5, 0.1, 0.06)
        assert (config.schedule, config.batch, config.tokens) == ("linear", 64, 128)
        assert config.steps == 8650  # 80 epochs of 6,920 sentences
    ffn, bert = made["uptrain ffn"], made["uptrain every ffn, rows of one norm, floor -5"]
    assert (ffn.features, ffn.uptrain_rate, ffn.batch, ffn.warmup) == (8, 5e-5, 16, 0.1)
    assert ffn.steps // 2 == 40 * 45_000 / 16
    assert (bert.features, bert.normalized, bert.floor) == (16, True, -5.0)
    assert made["uptrain pooler"].features == 512


def test_features_have_the_floor_and_the_norm_of_their_row():
    config = replace(SMALL, method="relu", features=400, floor=-5.0, normalized=True)
    features = snnk_networks.maps(config)
    draws, x = features.draw(jax.random.key(0), 16), jnp.eye(16)[:1]
    # the rows of norm 16^(1/4) = 2 see projections of standard deviation 2
    wanted = np.maximum(2 * np.asarray(x @ draws["directions"].T), -5) / 20
    found = np.asarray(features.phi(draws, x))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    np.testing.assert_allclose(features.phi(draws, 3 * x), wanted, rtol=1e-5)
    assert found.min() == pytest.approx(-5 / 20)


def test_rates_rise_and_fall_as_the_row_says():
    """From the changes of one weight under a constant gradient, which Adam makes the rate."""
    config = replace(SMALL, steps=100, learning_rate=0.1, schedule="linear", warmup=0.1)
    for weight_decay in (0.0, 0.5):
        tx = snnk.transform_of(replace(config, weight_decay=weight_decay))
        w, state, rates = jnp.ones(()), tx.init(jnp.ones(())), []
        for _ in range(100):
            update, state = tx.update(jnp.ones(()), state, w)
            rates.append(-float(update))
        rise, fall = 0.1 * np.arange(10) / 10, 0.1 * (1 - np.arange(90) / 90)
        wanted = np.concatenate([rise, fall]) * (1 + weight_decay)
        np.testing.assert_allclose(rates, wanted, rtol=1e-4, atol=1e-7)
    tx = snnk.transform_of(replace(config, schedule="cosine", warmup=0.0))
    first, _ = tx.update(jnp.ones(()), tx.init(jnp.ones(())), w)
    assert float(first) == pytest.approx(-0.1, rel=1e-4)


def test_pilots_see_validation_images_alone():
    test, held = (snnk.images(replace(SMOKE, judged=part)) for part in ("test", "validation"))
    np.testing.assert_array_equal(held.test["inputs"], test.validation["inputs"])
    assert held.test["inputs"].shape != test.test["inputs"].shape


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"study": "uci", "method": "relu"}, "method='relu' of uci is none of"),
        ({"features": 0}, "at least 1"),
        ({"dataset": "mnist"}, "dataset='mnist' of hidden is none of"),
        ({"study": "uptrain", "method": "none"}, "dataset='fashion_mnist' of uptrain is none of"),
        ({"study": "adapter", "method": "relu"}, "dataset='fashion_mnist' of adapter is none of"),
        ({"study": "uci", "method": "ridge", "dataset": "x"}, "dataset='x' of uci is none of"),
        (
            {"study": "uci", "method": "ridge", "dataset": "energy", "judged": "validation"},
            "its validation rows choose the ridge",
        ),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"warmup": 1.0}, "warmup=1.0 is a share"),
    ],
)
def test_rows_that_cannot_run_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMALL, **change)
