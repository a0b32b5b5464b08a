"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ps_kd
from experiments.harness import Measured
from experiments.parts.ps_kd_published import PAPER

SMOKE, SMALL = ps_kd.PRESETS["smoke"], ps_kd.PRESETS["small"]
MOVED = replace(SMALL, crop=2)


def pictures(n=6):
    """A batch of pictures of clothes' size."""
    draw = np.random.default_rng(0)
    return {
        "inputs": draw.uniform(size=(n, 28, 28, 1)).astype(np.float32),
        "labels": np.arange(n, dtype=np.int32),
        "index": np.arange(n, dtype=np.int32),
    }


def test_rows_of_small_show_no_published_numbers_and_those_of_paper_all_of_them():
    assert not any(row.paper for row in ps_kd.rows(SMALL))
    paper = ps_kd.rows(ps_kd.PRESETS["paper"])
    assert sum(bool(row.paper) for row in paper) == len(PAPER) == 25
    assert all(row.config.dataset == "cifar100" for row in paper)
    best = {row.name: row.paper["error"] for row in paper if row.paper}
    assert (best["resnet18 PS-KD"], best["pyramidnet CE"]) == (20.82, 16.80)


@pytest.mark.parametrize("mixing", ["none", "cutout", "cutmix"])
def test_pictures_move_by_their_key_and_mixing_adds_what_it_says(mixing):
    config, batch = replace(MOVED, mixing=mixing), pictures()
    one, two = (ps_kd.moved(config, batch, jax.random.key(k)) for k in (0, 1))
    assert np.abs(one["inputs"] - two["inputs"]).max() > 0
    assert ("mix" in one) == (mixing == "cutmix")
    same = ps_kd.moved(config, batch, jax.random.key(0))
    np.testing.assert_array_equal(one["inputs"], same["inputs"])
    still = ps_kd.moved(replace(config, crop=0, mixing="none"), batch, jax.random.key(0))
    np.testing.assert_array_equal(still["inputs"], batch["inputs"])


def test_the_square_of_cutout_has_the_mean_colour():
    """Pictures brighter than the mean everywhere are 0 inside the square alone."""
    config = replace(SMALL, mixing="cutout", square=8)
    batch = pictures(8)
    bright = batch | {"inputs": 0.5 + 0.5 * batch["inputs"]}
    shown = ps_kd.normalised(config, ps_kd.moved(config, bright, jax.random.key(0)))["inputs"]
    gone = (np.abs(np.asarray(shown)) < 1e-5).sum((1, 2, 3))
    assert np.all((gone > 0) & (gone <= 64))
    assert gone.max() == 64


def test_partners_of_cs_kd_are_moved_and_normalised_too():
    batch = pictures()
    pair = batch | {"partner_inputs": batch["inputs"]}
    moved = ps_kd.moved(MOVED, pair, jax.random.key(0))
    assert np.abs(moved["partner_inputs"] - moved["inputs"]).max() > 0  # on their own
    scaled = ps_kd.normalised(SMALL, pair)
    np.testing.assert_allclose(scaled["partner_inputs"], (batch["inputs"] - 0.286) / 0.353, 1e-5)


def measured(**change):
    """Figures for which all claims hold, changed for PS-KD."""
    plain = {"error": 20.0, "nll": 1.0, "ece": 10.0, "aurc": 60.0}
    ours = {"error": 20.2, "nll": 0.85, "ece": 6.0, "aurc": 60.5} | change
    cells = lambda found: {name: [value] for name, value in found.items()}
    return Measured({"CE": cells(plain), "PS-KD": cells(ours)})


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"nll": 0.95}, {"likelier"}),
        ({"ece": 9.5}, {"calibrated"}),
        ({"aurc": 61.0}, {"ranks-its-confidence"}),
        ({"error": 20.4}, {"as-accurate"}),
    ],
)
def test_each_claim_fails_on_figures_against_it(change, failing):
    assert {c.id for c in ps_kd.claims(measured(**change)) if not c.holds} == failing


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"alpha": 2.0}, "alpha=2.0"),
        ({"local": True, "method": "cs_kd"}, "local=True"),
        ({"mixing": "cutmix", "method": "tf_kd"}, "cutmix"),
    ],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMOKE, **change)


def test_the_compiled_step_remembers_every_training_image():
    program = ps_kd.program(ps_kd.PRESETS["paper"])
    assert program.batch["inputs"].shape == (4096, 32, 32, 3)
    stored = program.state.state["memory"]["own"]["predictions"]
    assert (stored.shape, stored.dtype) == ((50_000, 100), jnp.float32)
