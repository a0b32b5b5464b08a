"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import snn_delays
from experiments.harness import Measured
from experiments.parts.snn_delays_rows import SPARSE
from jaxlearn.core import make_state, make_step, stack
from jaxlearn.transforms.sparsity import masks

PRESETS = snn_delays.EXPERIMENT.presets
SMOKE = replace(PRESETS["smoke"], augment="none")
TINY = {"inputs": np.ones((4, 20, 12), np.float32), "labels": np.arange(4, dtype=np.int32)}


def weights(config, steps_per_epoch=4):
    model = stack(snn_delays.blocks_of(config, steps_per_epoch))
    inputs = jax.ShapeDtypeStruct((2, config.frames, config.inputs), "float32")
    return jax.eval_shape(model.init, jax.random.key(0), inputs)[0]


def size(config):
    return sum(leaf.size for leaf in jax.tree.leaves(weights(config)))


def test_the_paper_presets_have_the_published_networks():
    """Weights and as many positions; the rest are scales and biases of the normalisation."""
    for preset, inputs, width, layers, classes in (
        ("paper", 140, 256, 2, 20),
        ("paper-ssc", 140, 512, 3, 35),
        ("paper-commands", 140, 512, 3, 35),
    ):
        synapses = inputs * width + (layers - 1) * width**2 + width * classes
        assert size(PRESETS[preset]) == 2 * synapses + 2 * layers * width
    rows = {name: snn_delays.rows(PRESETS[name]) for name in PRESETS if name.startswith("paper")}
    shown = {name: dict(table[0].paper) for name, table in rows.items()}
    assert shown == {
        "paper": {"accuracy": 95.07},
        "paper-ssc": {"accuracy": 80.69},
        "paper-commands": {"accuracy": 95.35},
    }
    assert not any(row.paper for row in snn_delays.rows(PRESETS["small"]))


def test_every_variant_changes_the_preset_by_something():
    rows = snn_delays.rows(PRESETS["variants"])
    assert rows[0].config == PRESETS["variants"]
    assert len({row.config for row in rows}) == len(rows)
    options = ("bump", "neuron", "filtered", "density", "pruned", "threshold", "augment", "widths")
    for option in options:
        assert len({getattr(row.config, option) for row in rows}) > 1, option


def test_few_synapses_have_the_three_methods_beside_all_of_them():
    rows = snn_delays.rows(PRESETS["sparse"])
    seen = [(row.config.density, row.config.method) for row in rows]
    assert seen == [(d, m) for d in (1.0, 0.1) for m in ("learned", "fixed", "none")]


def test_claims_of_few_synapses_fail_on_figures_against_them():
    def failing(**accuracy):
        values = {"learned": 50.0, "fixed": 40.0, "none": 30.0} | accuracy
        rows = {SPARSE[0.1, name]: {"accuracy": [value]} for name, value in values.items()}
        whole = {"learned": 80.0, "fixed": 75.0, "none": 70.0}
        rows |= {SPARSE[1.0, name]: {"accuracy": [value]} for name, value in whole.items()}
        claims = snn_delays.claims(Measured(rows, preset="sparse"))
        return {claim.id for claim in claims if not claim.holds}

    order, gap = "order-with-few-synapses", "delays-matter-more-with-few-synapses"
    assert failing() == set()
    assert failing(fixed=51.0) == {order}
    assert failing(none=45.0) == {order, gap}


def test_delays_at_the_ends_are_counted_among_live_synapses():
    position = jnp.array([-2.0, -1.6, -1.4, 0.0, 1.6, 2.0])
    params = {"0": {"position": position, "kernel": jnp.array([1.0, 1, 1, 1, 1, 0])}}
    assert snn_delays.at_the_ends(params, 5) == pytest.approx(3 / 5)
    assert snn_delays.moved(params, jax.tree.map(lambda leaf: leaf + 0.5, params)) == 0.5


def test_speech_commands_are_decibels_from_50_hz_and_heidelberg_digits_are_not_cut(monkeypatch):
    asked = {}

    def load(name, **options):
        asked[name] = options
        raise ValueError("enough")

    monkeypatch.setattr(snn_delays, "load", load)
    for preset in ("paper", "paper-ssc", "paper-commands"):
        with pytest.raises(ValueError, match="enough"):
            snn_delays.data_of(PRESETS[preset])
    assert (asked["shd"]["frames"], asked["ssc"]["frames"]) == (140, 100)
    wanted = {"low": 50.0, "decibels": True, "standardize": False, "frames": 100, "mels": 140}
    assert asked["speech_commands"] == wanted | {"train": None, "test": None}


def test_smoke_turns_on_what_it_can_at_once():
    smoke = PRESETS["smoke"]
    assert smoke.filtered
    assert smoke.density < 1
    assert smoke.threshold > 0
    assert (smoke.neuron, smoke.augment) == ("plif", "cutmix")


@pytest.mark.parametrize("pruned", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_density_is_that_of_every_layer_and_masked_synapses_do_not_count(pruned):
    config = replace(SMOKE, density=0.25, pruned=pruned)
    rule, tx = snn_delays.rule_of(config, 4), snn_delays.transform_of(config, 4)
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), TINY))()
    everything = snn_delays.parameters(state.params)
    step = jax.jit(make_step(rule, tx))
    for _ in range(9 if pruned else 1):
        state, _ = step(state, TINY)
    kernels = {
        path: leaf
        for path, leaf in jax.tree.leaves_with_path(state.params)
        if path[-1].key == "kernel"
    }
    assert len(kernels) == 2
    for path, leaf in kernels.items():
        assert np.mean(np.asarray(leaf) != 0) == pytest.approx(0.25, abs=0.02), path
    assert sum(int(m.sum()) for m in jax.tree.leaves(masks(state.opt_state))) > 0
    total = sum(leaf.size for leaf in kernels.values())
    left = sum(int(np.count_nonzero(leaf)) for leaf in kernels.values())
    assert everything - snn_delays.parameters(state.params) == 2 * (total - left)


def test_positions_have_a_rate_of_their_own_and_stay_within_the_kernel():
    config = replace(SMOKE, density=1.0, position_rate=100.0)
    tx = snn_delays.transform_of(config, 4)
    params = {"kernel": jnp.ones((3, 2)), "position": jnp.zeros((3, 2))}
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(moved["position"], -2.0)
    assert 0 < float(jnp.abs(moved["kernel"] - 1).max()) < 1e-2


def test_one_program_judges_rounded_and_unrounded_delays_and_counts_spikes():
    config = replace(SMOKE, density=1.0)
    model = stack(snn_delays.blocks_of(config, 4))
    params, state = jax.jit(model.init)(jax.random.key(0), TINY["inputs"])
    x = jnp.asarray(3 * np.random.default_rng(1).normal(size=(4, 20, 12)), jnp.float32)
    found, _ = jax.jit(snn_delays.views_of(config, 4))(params, state, {"inputs": x})
    np.testing.assert_allclose(
        found["rounded"], jax.jit(model.apply)(params, state, x)[0], atol=1e-6
    )
    assert np.abs(np.subtract(found["rounded"], found["unrounded"])).max() > 1e-4
    hidden = snn_delays.blocks_of(config, 4)[0]
    spikes, _ = jax.jit(hidden.apply)(params["0"], {k: v["0"] for k, v in state.items()}, x)
    np.testing.assert_allclose(found["spikes"], np.asarray(spikes).sum(1).mean(-1), rtol=1e-5)
    assert float(found["spikes"].max()) > 0


def test_wrong_configs_and_other_data_are_refused():
    for wrong, message in (
        ({"density": 0.0}, r"density=0\.0, threshold=0\.0"),
        ({"threshold": -1.0}, r"threshold=-1\.0"),
        ({"neuron": "relu"}, "neuron='relu' is none of"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(PRESETS["small"], **wrong)
    digits = {"name": "spoken_digits", "source": "of a test", "positions": {}}
    part = {"inputs": np.ones((2, 5, 3)), "labels": np.zeros(2), "index": np.arange(2)}
    made = snn_delays.Dataset(train=part, validation=part, test=part, classes=("0",) * 10, **digits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snn_delays, "load", lambda *_, **__: made)
        with pytest.raises(ValueError, match=r"classes=12, but spoken_digits has 10 here"):
            snn_delays.data_of(replace(PRESETS["small"], classes=12))
        spikes = snn_delays.data_of(replace(PRESETS["small"], threshold=1.0))
    assert spikes.train["inputs"].shape == (2, 5, 6)
