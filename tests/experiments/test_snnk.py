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


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="method='relu' of uci is none of"):
        replace(SMALL, study="uci", method="relu")
    with pytest.raises(ValueError, match="at least 1"):
        replace(SMALL, features=0)
