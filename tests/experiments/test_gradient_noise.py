from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gradient_noise import (
    EXPERIMENT,
    PRESETS,
    Config,
    claims,
    held_out,
    judged,
    program,
    rows,
    rule,
    stream,
    summary,
    train,
    transform,
)
from experiments.harness import Measured, Run
from jaxlearn.data.binary_arithmetic import OUTPUTS, PLUS, ZERO

GOOD = {
    "zeros": {"mean": [10.0], "best": [10.0], "weight": [0.0], "classes": [1.0]},
    "zeros, noise": {"mean": [40.0], "best": [55.0]},
    "simple": {"mean": [10.0]},
    "simple, noise": {"mean": [60.0]},
    "simple, constant noise": {"mean": [30.0]},
    "he": {"mean": [90.0]},
    "he, noise": {"mean": [50.0]},
    "he, little noise": {"mean": [86.0]},
}


def test_zeros_are_judged_at_the_paper_preset_too():
    rows = {"zeros, clip 10": GOOD["zeros"], "zeros, clip 10, noise 0.01": {"weight": [1.0]}}
    (claim,) = claims(Measured(rows, "paper"))
    assert claim.id == "zeros-stay-zeros"
    assert claim.holds
    assert "paper" in claim.presets
    slow = {"zeros, clip 10, rate 0.01": {"weight": [0.0], "classes": [2.0]}}
    assert not claims(Measured(rows | slow, "paper"))[0].holds


def failing(**changed):
    rows = {name: dict(row) for name, row in GOOD.items()}
    for name, row in changed.items():
        rows[name.replace("_noise", ", noise")] |= row
    return {claim.id for claim in claims(Measured(rows)) if not claim.holds}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"zeros": {"weight": [1e-30]}}, {"zeros-stay-zeros"}),
        ({"zeros": {"classes": [2.0]}}, {"zeros-stay-zeros"}),
        ({"zeros_noise": {"best": [49.0]}}, {"noise-trains-zeros"}),
        ({"simple": {"mean": [41.0]}}, {"noise-helps-a-simple-start"}),
        ({"he": {"mean": [92.0]}}, {"good-starts-need-none"}),
        ({"simple_noise": {"mean": [45.0]}}, {"annealing-helps"}),  # 35 above no noise
    ],
)
def test_claims_fail_by_their_margins(changed, expected):
    assert failing(**changed) == expected


def test_no_published_number_is_printed_and_the_paper_preset_has_its_settings():
    made = rows(PRESETS["paper"])
    assert not any(row.paper for row in made)
    names = [row.name for row in made]
    for initial in ("simple, no clipping", "simple, clip 100", "simple, clip 10", "zeros, clip 10"):
        assert {initial, *(f"{initial}, noise {eta}" for eta in (0.01, 0.3, 1))} <= set(names)
    assert "simple, clip 10, dropout" in names
    assert {"simple, clip 10, weight noise", "bAbI 2, linear start, noise 0.01"} <= set(names)
    assert {"simple, clip 10, constant noise", "he, clip 10, rate 0.01, noise 1"} <= set(names)
    assert sum(name.startswith("bAbI") for name in names) == 80
    deep = made[0].config
    assert (deep.layers, deep.width, deep.restarts) == (20, 50, 20)
    assert {row.config.dataset for row in made} == {"mnist"}
    kept = [row.config.eta for row in made if row.config.gamma == 0]
    assert kept == [0.01] * 6  # three ways to clip, two rates


def test_no_restart_at_chance_is_a_success_and_good_networks_are_counted():
    of = lambda *accuracies: [{"accuracy": a, "validation": a} for a in accuracies]
    assert summary(of(10.0, 10.2, 9.0), 10.3)["success"] == 0
    assert summary(of(10.0, 90.0, 80.0, 85.0), 10.3)["success"] == 50
    assert summary(of(10.185186, 10.185186), 10.185185)["success"] == 0  # as many, in float32
    assert "under_1" not in summary(of(10.0), 10.3)
    found = summary(of(99.5, 99.0, 97.5, 95.5, 0.0), 0.5, counts=True)
    assert [found[f"under_{limit}"] for limit in (1, 2, 3, 5)] == [1, 2, 3, 4]


def test_smoke_touches_every_initialisation_optimizer_and_task():
    configs = [row.config for row in rows(PRESETS["smoke"])]
    assert {c.initial for c in configs} == {"zeros", "simple", "he", "sussillo_abbott"}
    assert {c.optimizer for c in configs} == {"sgd", "momentum", "adam"}
    assert {c.task for c in configs} == {"mlp", "neural_gpu", "linear_start"}
    assert {c.on for c in configs} == {"gradients", "weights"}
    assert 0.0 in {c.clip for c in configs}
    assert any(c.dropout for c in configs)


def test_multiplication_grows_in_training_and_is_tested_on_longer_numbers():
    config = Config(task="neural_gpu", digits=4, steps=80, batch=2)
    digits = [int((stream(config, 1)(step)["labels"][0] > 0).sum()) // 2 for step in (0, 30, 79)]
    assert digits == [1, 4, 4]
    validation, test = held_out(config)
    assert [(part["labels"][0] > 0).sum() for part in (validation, test)] == [8, 12]
    assert not np.array_equal(stream(config, 1)(0)["inputs"], stream(config, 2)(0)["inputs"])


def test_sums_are_judged_by_whole_answers_and_by_digits():
    """A judge that gives 0 for every digit is right about some digits and about no sum."""
    config = Config(task="addition", digits=2, steps=4)
    batch = stream(config, 1)(3)
    assert int(batch["inputs"][0, 2]) == PLUS
    zeros = lambda state, x: jax.nn.one_hot(jnp.full(x.shape, ZERO), OUTPUTS)
    validation, test = held_out(config)
    found = judged(config, None, zeros, validation, test)
    digits = np.asarray(test["labels"])[np.asarray(test["labels"]) > 0]
    assert found["accuracy"] == found["same_length"] == 0
    assert found["digits"] == pytest.approx(100 * (digits == ZERO).mean())


def test_weight_noise_has_the_variance_of_the_config_and_gradients_have_none():
    """At weights of 0 no signal passes the hidden layers, at weights with noise it does."""
    config = replace(PRESETS["smoke"], layers=2, width=8, initial="zeros")
    config = replace(config, on="weights", eta=0.25)
    learner, batch = rule(config), stream(config, 0)(0)
    params, state = jax.jit(learner.init)(jax.random.key(0), batch)
    grads = jax.jit(learner.signal)(params, state, batch, jax.random.key(1))[0]
    assert np.any(grads["first"]["kernel"])
    tx = transform(replace(config, clip=0.0, learning_rate=1.0), jax.random.key(2))
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(still, tx.init(params), params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(updates))


@pytest.mark.slow
def test_a_linear_start_ends_in_every_restart_at_a_look_and_is_reported(tmp_path):
    config = Config(
        task="linear_start", story=0, width=20, learning_rate=0.5, clip=40.0, steps=300, restarts=2
    )
    found = train(config, [0], Run(tmp_path))[0]
    assert set(found) == {"best", "mean", "success", "switched"}
    assert 0 < found["switched"] < 300
    assert found["switched"] % (300 // 30 / 2) == 0  # a mean of two looks


@pytest.mark.slow
def test_restarts_are_judged_by_validation_and_counted(tmp_path):
    config = replace(PRESETS["smoke"], layers=2, width=8, steps=3, restarts=2)
    found = train(config, [0, 1], Run(tmp_path))
    assert sorted(found) == [0, 1]
    for metrics in found.values():
        assert set(metrics) == {"best", "mean", "success", "weight", "classes"}
        assert metrics["success"] in (0.0, 50.0, 100.0)


def test_wrong_configs_are_refused_and_the_step_divides_over_a_pod():
    with pytest.raises(ValueError, match="eta, gamma and clip"):
        Config(eta=-1.0)
    with pytest.raises(ValueError, match="restarts must be at least 1"):
        Config(restarts=0)
    made = program(EXPERIMENT.presets["paper"])
    assert made.batch["inputs"].shape == (64 * 256, 28, 28, 1)
