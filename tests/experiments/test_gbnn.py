from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gbnn import (
    METHODS,
    PRESETS,
    SMALL_SETS,
    Config,
    claims,
    error,
    from_library,
    grown,
    problem,
    program,
    rows,
    table,
    train,
)
from experiments.harness import Measured
from experiments.parts.gbnn_problems import loss_of
from jaxlearn.data import MissingData

CLASSED = SMALL_SETS[:4]


def measured(gbnn=95.0, half=94.5, random_half=80.0, rmse=1.0, head=92.0, deep=92.0):
    found = {}
    for name in SMALL_SETS:
        for method in METHODS:
            if name in CLASSED:
                score = gbnn if method == "gbnn" else 96.0
                row = {"accuracy": [score], "accuracy random half": [random_half]}
                row["accuracy half"] = [half]
            else:
                row = {"rmse": [rmse if method == "gbnn" else 1.0]}
            found[f"{name}, {method}"] = row
    found["digits, deep"] = {"accuracy": [92.0], "accuracy linear head": [92.0]}
    found["cifar10, deep"] = {"accuracy": [deep], "accuracy linear head": [head]}
    return Measured(found)


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, set()),
        ({"rmse": 1.2}, set()),
        ({"gbnn": 93.9}, {"as-good-as-joint-training"}),
        ({"half": 93.9}, {"half-the-units-suffice"}),
        ({"half": 96.1}, {"does-not-overgrow"}),
        ({"random_half": 95.6}, {"random-halves-lose-more"}),
        ({"deep": 90.9}, {"on-convolutional-features"}),
    ],
)
def test_claims_fail_by_their_margins(changed, failing):
    assert {claim.id for claim in claims(measured(**changed)) if not claim.holds} == failing


def test_rows_cover_losses_and_methods_without_published_numbers():
    for preset in PRESETS.values():
        assert not any(row.paper for row in rows(preset))
    assert len(rows(PRESETS["small"])) == 6 * 7 + 3


def test_the_linear_row_is_ridge_regression_chosen_on_validation():
    config = replace(PRESETS["smoke"], dataset="diabetes", method="linear", used=2)
    made, loss = problem(config, [0])
    expected = []
    for fold in range(2):
        x, y = ({part: v[fold].astype(np.float64) for part, v in d.items()} for d in made[:2])
        means = x["train"].mean(0), y["train"].mean(0)
        centred, targets = x["train"] - means[0], y["train"] - means[1]
        errors = []
        for penalty in (1e-3, 1e-1, 1e1, 1e3):
            normal = centred.T @ centred + penalty * np.eye(x["train"].shape[1])
            w = np.linalg.solve(normal, centred.T @ targets)
            missed = [(x[part] - means[0]) @ w + means[1] - y[part] for part in x]
            errors.append([np.sqrt(np.mean(values**2)) for values in missed])
        validation, test = (np.array(errors)[:, list(x).index(p)] for p in ("validation", "test"))
        expected.append(test[validation.argmin()] * made.scale[fold])
    found = from_library(config, made, loss, None)[""]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("method", ["trees", "linear", "three-layer"])
def test_what_boosting_is_seen_beside_learns_classes(method):
    config = replace(PRESETS["smoke"], method=method, steps=200)
    found = train(config, [0], None)
    assert found[0]["accuracy"] > 80
    paper = {row.config.dataset for row in rows(PRESETS["paper"])}
    assert {"power", "kin8nm", "sonar", "iris"} <= paper
    assert len(paper) == 5 + 13 + 8 + 1


def test_the_paper_preset_cuts_no_table():
    """The largest has 45,730 rows."""
    assert all(row.config.limit > 45_730 for row in rows(PRESETS["paper"]))


def test_rings_of_abalone_are_values():
    try:
        x, t = table("abalone", 50_000)
    except MissingData as absent:
        pytest.skip(str(absent))
    assert len(x) == len(t) == 4177
    assert t.dtype.kind == "f"
    assert (t.min(), t.max()) == (1, 29)
    assert loss_of(t).kappa == 1  # of the squared error


def test_folds_are_scaled_and_coded_by_their_training_parts():
    config = replace(PRESETS["smoke"], dataset="diabetes", used=2)
    made, loss = problem(config, [0, 1])
    assert made.x["train"].shape[0] == 4
    np.testing.assert_allclose(made.x["train"].mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(made.y["train"].std(1), 1, rtol=1e-5)
    t = table("diabetes", 600)[1]
    back = made.y["test"][0] * made.scale[0]
    assert np.ptp(back) <= np.ptp(t) * (1 + 1e-5)
    assert loss.predict(jnp.ones(1)) == 1


@pytest.mark.slow
def test_the_head_of_a_trained_network_is_linear_in_the_features_of_the_same_images():
    """Exactly so only where features and scores belong to the same rows."""
    config = replace(PRESETS["small"], dataset="cifar10", method="deep", limit=400)
    try:
        made, loss = problem(config, [3])
    except MissingData as absent:
        pytest.skip(str(absent))
    x, scores = made.x["test"][1].astype(np.float64), made.head[1]
    assert x.shape == (80, 64)
    wide = np.c_[x, np.ones(len(x))]
    found = wide @ np.linalg.lstsq(wide, scores, rcond=None)[0]
    np.testing.assert_allclose(found, scores, atol=1e-3 * np.abs(scores).max())
    assert error(made.head, made.y["test"], made.scale).max() < 35  # JPEG: 19 % of all are wrong
    assert loss.initial(made.y["train"][0]).shape == (10,)


def test_losses_and_errors_follow_the_targets():
    assert loss_of(np.array([0, 1], np.int32)).kappa == 2
    assert loss_of(np.array([0, 2], np.int32)).initial(jnp.eye(3)).tolist() == [0, 0, 0]
    signs = np.array([[1.0], [-1.0]])
    assert error(np.array([[[2.0], [3.0]]]), signs, np.ones(1)).tolist() == [50.0]
    hot = np.eye(3)[[0, 2]]
    assert error(hot[::-1], hot, np.float32(1)) == 100
    assert error(np.array([[0.0], [2.0]]), np.array([[1.0], [1.5]]), 2.0) == pytest.approx(
        2 * np.sqrt((1 + 0.25) / 2)
    )


def test_boosting_is_chosen_on_validation_and_reports_its_first_half(monkeypatch):
    """Curves made up: the second rate is best on validation, and its test curve is reported."""
    config = replace(PRESETS["smoke"], rates=(0.5, 1.0), stage_units=(1,), units=4)
    made, loss = problem(config, [0])
    truth = {part: made.y[part][0] for part in ("validation", "test")}

    def curves(*_):
        found = []
        for part, wrong in (("validation", (1, 0)), ("test", (0, 2))):
            scores = np.zeros((1, 2, 5, *truth[part].shape))
            for rate, count in enumerate(wrong):
                scores[0, rate, :] = truth[part]
                scores[0, rate, 4, :count] = -truth[part][:count]
            found.append(scores)
        return found

    monkeypatch.setattr("experiments.gbnn._curves", curves)
    found = grown(config, made, loss, None)
    assert found[" half"] == 0
    assert found[""] == pytest.approx(100 * 2 / len(truth["test"]))


def test_wrong_configs_are_refused_and_the_stage_divides_over_a_pod():
    with pytest.raises(ValueError, match="unknown dataset 'mnist'"):
        Config(dataset="mnist")
    with pytest.raises(ValueError, match="used <= folds"):
        Config(used=6)
    with pytest.raises(ValueError, match=r"stage_units=\(0,\); a stage has at least one unit"):
        Config(stage_units=(0,))
    with pytest.raises(ValueError, match="steps=10; baselines are looked at 20 times"):
        Config(method="adam", steps=10)
    made = program(PRESETS["paper"])
    assert made.batch["inputs"].shape[0] % 256 == 0
    assert made.state.params.rho.shape == (50,)
