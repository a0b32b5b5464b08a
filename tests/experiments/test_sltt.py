"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sltt
from experiments.harness import Measured, Run
from experiments.parts import sltt_data
from experiments.parts.abstract import labelled
from jaxlearn.data import cifar10, cifar100, imagenet
from jaxlearn.data.batches import batches

SMOKE = sltt.PRESETS["smoke"]


@pytest.mark.parametrize("name, module", [("cifar100", cifar100), ("imagenet", imagenet)])
def test_bytes_in_colour_are_normalised_by_their_own_channels(name, module):
    config, side = sltt.PRESETS[name], sltt.DATA[name].shape[0]
    images = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    found = sltt.normalised(config, {"inputs": images, "labels": 0})["inputs"]
    wanted = (images / 255 - np.array(module.MEAN)) / np.array(module.STD)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_without_a_number_all_images_are_trained_on(monkeypatch):
    asked = {}
    monkeypatch.setattr(sltt_data, "load", lambda name, **options: asked.update({name: options}))
    for preset in ("paper", "cifar100", "imagenet", "small"):
        sltt.data_of(sltt.PRESETS[preset])
    assert asked["cifar100"] == {"as_float": False, "validation": 0, "train": None, "test": None}
    assert asked["imagenet"] == {"validation": 0, "train": None, "test": None}
    assert asked["cifar10"] == {"as_float": False, "train": 5000, "test": 2000}
    sltt.data_of(sltt.PRESETS["paper"])
    assert asked["cifar10"]["validation"] == 0


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
    for name, shown in {"cifar100": ("SLTT", 74.38), "imagenet": ("SLTT-1", 66.19)}.items():
        cited = [row for row in sltt.rows(sltt.PRESETS[name]) if row.paper]
        assert [(row.name, row.paper["accuracy"]) for row in cited] == [shown]
        changed = replace(sltt.PRESETS[name], tau=2.0)
        assert not any(row.paper for row in sltt.rows(changed))
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
        ({"shrink": 3}, "shrink=3 has to divide the 32 pixels"),
        ({"shrink": 0}, "shrink=0 has to divide"),
        ({"network": "resnet18"}, "shrink=2; resnet18 takes all 32 pixels"),
        ({"dataset": "n_mnist", "T": 10}, "n_mnist comes as T=10 frames; take shrink=1"),
        ({"dataset": "n_mnist", "shrink": 1}, "no length beyond T"),
        ({"turns": 0}, "turns=0"),
        ({"dropout": 1.0}, r"dropout=1\.0"),
    ],
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        replace(sltt.PRESETS["small"], **options)


def program_of(config, size=2):
    """The step and its first state from shapes alone, as memory is measured."""
    shape, dtype = sltt.input_of(config)
    return sltt.abstract_program(config, labelled(size, shape, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("preset", sltt.PRESETS)
def test_every_row_has_a_step_and_a_state_at_every_length(preset):
    for row in sltt.rows(sltt.PRESETS[preset]):
        lengths = sltt.at_lengths(row.config)
        assert [program_of(own).state.step.shape for own in lengths] == [()] * len(lengths)
        assert lengths, row.name
        made = program_of(row.config)
        state, metrics = jax.eval_shape(made.step, made.state, made.batch)
        assert jax.tree.structure(state) == jax.tree.structure(made.state)
        assert metrics["loss"].shape == ()


def test_smoke_has_every_surrogate_and_loss():
    configs = [row.config for row in sltt.rows(SMOKE)]
    assert {config.surrogate for config in configs} == {"triangle", "rectangle", "sigmoid"}
    losses = {(config.mse_share, config.mse_target) for config in configs}
    assert losses == {(0.05, "ones"), (0.0, "ones"), (0.05, "one-hot")}


def test_examples_are_cut_to_the_length_that_is_measured():
    config = replace(SMOKE, dataset="spoken_digits", T=6, lengths=(2, 6))
    shape, dtype = sltt.input_of(config)
    example = {"inputs": jnp.ones((3, *shape), dtype), "labels": jnp.zeros(3, jnp.int32)}
    for own in sltt.at_lengths(config):
        assert sltt.frames_of(own, example)["inputs"].shape == (3, own.T, 40)
        assert sltt.temp_bytes(own, sltt.frames_of(own, example)) > 0
    assert [own.T for own in sltt.at_lengths(replace(config, K=3))] == [6]
    odd = replace(config, method="truncated", lengths=(3, 4, 6))
    assert [own.T for own in sltt.at_lengths(odd)] == [4, 6]


@pytest.mark.slow
def test_a_program_shares_out_the_published_batch():
    sizes = {"paper": 256 * 128, "cifar100": 256 * 128, "imagenet": 256, "dvs-gesture": 256 * 16}
    for preset, size in sizes.items():
        assert sltt.program(sltt.PRESETS[preset]).batch["inputs"].shape[0] == size


@pytest.mark.parametrize("network, count", [("nf_resnet34", 18), ("nf_resnet101", 35)])
def test_networks_of_imagenet_have_their_blocks(network, count):
    config = replace(sltt.PRESETS["imagenet"], network=network)
    assert len(sltt.blocks_of(config)) == count


@pytest.mark.slow
def test_a_first_stage_has_one_step_in_time_and_its_weights_go_on(tmp_path):
    config = replace(SMOKE, K=2, duration="1it", learning_rate=1e-6, first="20it", first_rate=0.2)
    first = sltt.first_of(config)
    assert (first.T, first.K, first.learning_rate, first.weight_decay) == (1, 0, 0.2, 1e-5)
    published = sltt.PRESETS["imagenet"]
    assert (published.first, published.duration, published.T) == ("100ep", "30ep", 6)
    stream = batches(sltt.data_of(config).train, config.batch, seed=0)
    before = sltt.fitted_one(first, stream, 0, Run(tmp_path / "alone")).state
    after = sltt.fitted_one(config, stream, 0, Run(tmp_path / "both")).state
    assert (int(before.step), int(after.step)) == (20, 1)
    for a, b in zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    start = sltt.fitted_one(replace(config, first=""), stream, 0, Run(tmp_path / "none")).state
    far = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), start.params, after.params)
    assert max(jax.tree.leaves(far)) > 1e-2


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
