"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sltt
from experiments.harness import Measured, Run
from jaxlearn.data import cifar10
from jaxlearn.data.batches import batches

SMOKE = sltt.PRESETS["smoke"]


def test_small_images_are_means_of_normalised_windows():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = sltt.normalised(sltt.PRESETS["small"], {"inputs": images, "labels": 0})["inputs"]
    scaled = (images / 255 - np.array(cifar10.MEAN)) / np.array(cifar10.STD)
    wanted = np.stack([scaled[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).mean(0)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_rows_differ_in_the_rule_alone_and_only_cited_numbers_are_shown():
    paper = sltt.rows(sltt.PRESETS["paper"])
    assert {row.name: dict(row.paper) for row in paper if row.paper} == {
        "SLTT": {"accuracy": 94.44}
    }
    small, plain = sltt.PRESETS["small"], {"method": "sltt", "K": 0, "trained": True}
    usual = {"surrogate": "triangle", "mse_share": 0.05, "mse_target": "ones"}
    for row in sltt.rows(small):
        assert not row.paper
        if row.config.dataset == "cifar10":
            assert replace(row.config, **plain, **usual, lengths=small.lengths) == small
    sounds = [row.config for row in sltt.rows(small) if row.config.dataset != "cifar10"]
    for tau in (1.1, 2.0):
        alike = {replace(config, **plain) for config in sounds if config.tau == tau}
        assert len(alike) == 1


@pytest.mark.parametrize(
    "options, words",
    [
        ({"dataset": "mnist"}, "dataset='mnist' is none of"),
        ({"network": "vgg11"}, "network='vgg11' does not fit cifar10"),
        ({"method": "ottt"}, "takes pairs of dense layers"),
        ({"method": "truncated", "window": 3}, "window=3 does not divide T=4"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        replace(sltt.PRESETS["small"], **options)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["dvs-cifar10", "dvs-gesture", "imagenet"])
def test_other_presets_have_a_step(preset):
    made = sltt.program(sltt.PRESETS[preset])
    state, metrics = jax.eval_shape(made.step, made.state, made.batch)
    assert jax.tree.structure(state) == jax.tree.structure(made.state)
    assert metrics["loss"].shape == ()


@pytest.mark.slow
def test_memory_over_time():
    example = batches(sltt.data_of(SMOKE).train, SMOKE.batch, seed=0)(0)
    of = lambda method, T: sltt.temp_bytes(replace(SMOKE, method=method, T=T), example)
    short, long = of("sltt", 4), of("sltt", 32)
    assert abs(long - short) < 0.05 * short
    assert of("bptt", 32) > 4 * of("bptt", 4)


@pytest.mark.slow
def test_cosine_is_one_without_a_leak_and_below_with_one():
    from jaxlearn.core import make_state

    def cosine(tau):
        config = replace(SMOKE, tau=tau)
        stream = batches(sltt.data_of(config).train, config.batch, seed=0)
        state = make_state(
            sltt.rule_of(config), sltt.transform_of(config, 10), jax.random.key(0), stream(0)
        )
        return sltt.cosine_with_bptt(config, stream)(state)["cosine"]

    assert cosine(1.0) == pytest.approx(1, abs=1e-5)
    assert 0.5 < cosine(2.0) < 0.999


def test_cosine_is_not_measured_where_it_would_mean_something_else():
    assert sltt.cosine_with_bptt(replace(SMOKE, K=2), None) is None
    assert sltt.cosine_with_bptt(replace(SMOKE, method="bptt"), None) is None


@pytest.mark.slow
def test_a_row_without_training_measures_costs_only(tmp_path):
    config = replace(SMOKE, method="bptt_checkpointed", trained=False, lengths=(4,), turns=1)
    found = sltt.train(config, [7], Run(tmp_path))
    assert set(found[7]) == {"time_vs_sltt", "temp_mb_4"}
    assert found[7]["time_vs_sltt"] > 0


def measured(sltt_accuracy=80.0, times=(1.0, 0.8, 0.6), long=10.2, cosine=0.99):
    rows = {
        "BPTT": {"accuracy": [81.0], "temp_mb_4": [20.0], "temp_mb_16": [80.0]},
        "SLTT": {
            "accuracy": [sltt_accuracy],
            "temp_mb_4": [10.0],
            "temp_mb_16": [long],
            "cosine": [cosine],
            "time_vs_sltt": [times[0]],
        },
        "SLTT-2": {"time_vs_sltt": [times[1]]},
        "SLTT-1": {"time_vs_sltt": [times[2]]},
    }
    return Measured(rows)


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"sltt_accuracy": 78.9}, {"as-accurate-as-bptt"}),
        ({"times": (1.0, 0.6, 0.8)}, {"time-falls-with-K"}),
        ({"long": 12.0}, {"memory-flat-in-T"}),
        ({"long": 90.0}, {"memory-flat-in-T", "less-memory-than-bptt"}),
        ({"cosine": 0.9}, {"gradients-agree"}),
    ],
)
def test_each_claim_fails_on_figures_against_it(change, failing):
    assert {c.id for c in sltt.claims(measured(**change)) if not c.holds} == failing


@pytest.mark.parametrize(
    ("change", "text"),
    [({"K": 9}, "K=9"), ({"K": 1, "method": "bptt"}, "needs method"), ({"tau": 0.5}, "tau=0.5")],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMOKE, **change)


def test_program_shares_the_published_batch_over_every_chip():
    program = sltt.program(sltt.PRESETS["paper"])
    assert program.batch["inputs"].shape == (256 * 128, 32, 32, 3)
    assert program.batch["inputs"].dtype == jnp.uint8
