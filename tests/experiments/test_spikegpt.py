"""The experiment's own logic; training the table is left to its smoke preset."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import spikegpt
from experiments.harness import Measured
from jaxlearn.core import Model, TrainState, make_state, stack

SMOKE, SMALL = (spikegpt.EXPERIMENT.presets[name] for name in ("smoke", "small"))


def weights(model: str) -> int:
    config = replace(SMALL, model=model)
    model = stack(spikegpt.blocks_of(config, 65))
    tokens = jax.ShapeDtypeStruct((1, config.context), "int32")
    params, _ = jax.eval_shape(model.init, jax.random.key(0), tokens)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.slow
def test_baselines_have_about_as_many_weights():
    ours = weights("spikegpt")
    for model in ("rwkv", "transformer", "lstm", "real-embedding", "no-leak"):
        assert abs(weights(model) / ours - 1) < 0.05, model


@pytest.mark.slow
def test_firing_counts_what_blocks_add():
    config = replace(SMOKE, layers=2, init="torch")
    rule, tx = spikegpt.rule_of(config, 65), spikegpt.transform_of(config)
    tokens = np.random.default_rng(0).integers(0, 65, (4, 16)).astype(np.int32)
    state = make_state(rule, tx, jax.random.key(0), {"inputs": tokens, "labels": tokens})
    blocks = spikegpt.blocks_of(config, 65)[:-1]
    # neurons whose current is always over the threshold fire at every token
    always = [replace_neuron(config, threshold) for threshold in (-1e6, 1e6)]
    for layers, expected in zip(always, (100.0, 0.0), strict=True):
        found = spikegpt.firing(config, [blocks[0], *layers], state.params, state, tokens)
        assert found["spikes"] == pytest.approx(expected, abs=1e-3)
        assert found["additions"] == pytest.approx(found["products"] * expected / 100, abs=1e-3)
    C = config.width
    assert found["products"] * 1e3 == 13 * C**2 * 2 + 65 * C


def running_sum(params, state, x, **_):
    """Logits of the sum of all tokens so far, modulo 11: nothing but memory."""
    past = state["sequence"] if "sequence" in state else jnp.zeros(len(x), jnp.int32)
    sums = past[:, None] + jnp.cumsum(x, 1)
    return jax.nn.one_hot(sums % 11, 11), {"sequence": sums[:, -1]}


def test_what_is_written_from_memory_is_what_rereading_writes():
    tokens = np.random.default_rng(0).integers(0, 11, (3, 8)).astype(np.int32)
    state = TrainState(jnp.int32(0), {}, {}, (), jax.random.key(0))
    assert spikegpt.rewritten(Model(None, running_sum), state, tokens) == 100
    forgets = Model(None, lambda params, state, x, **_: running_sum(params, {}, x))
    assert spikegpt.rewritten(forgets, state, tokens) < 50


def test_smoke_takes_every_way_through_the_blocks():
    configs = [row.config for row in spikegpt.rows(SMOKE)]
    assert {"ffn-pre", "spiking-ffn"} <= {config.model for config in configs}
    assert {config.init for config in configs} == {"rwkv", "torch"}
    assert SMOKE.layers == 2


def replace_neuron(config, threshold):
    from jaxlearn.models.spikegpt import NEURON, spikegpt_blocks

    neuron = replace(NEURON, threshold=threshold)
    return spikegpt_blocks(65, config.layers, config.width, neuron=neuron)[1:-1]


def measured(ours=2.7, twin=2.5, pairs=3.5, spikes=20.0, streamed=1e-6, reviews=70.0):
    return Measured(
        {
            "SpikeGPT": {"bits": [ours], "spikes": [spikes], "streamed": [streamed]},
            "RWKV, its twin without spikes": {"bits": [twin]},
            "counted pairs": {"bits": [pairs]},
            "film reviews, SpikeGPT": {"accuracy": [reviews]},
        }
    )


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({}, set()),
        ({"pairs": 2.6}, {"beats-pairs"}),
        ({"twin": 2.8}, {"twin-is-better"}),
        ({"twin": 2.1}, {"twin-is-better"}),
        ({"spikes": 0.5}, {"sparse"}),
        ({"spikes": 41.0}, {"sparse"}),
        ({"streamed": 2e-4}, {"streaming"}),
        ({"reviews": 65.0}, {"reviews"}),
    ],
)
def test_each_claim_fails_on_figures_against_it(change, failing):
    found = {c.id for c in spikegpt.claims(measured(**change)) if not c.holds}
    assert found == failing


@pytest.mark.parametrize(
    ("accuracy", "failing"),
    [
        ({}, set()),
        ({"Subj": 80.0}, {"judgement-or-plot"}),
        ({"SST-5": 29.0}, {"above-majority"}),
    ],
)
def test_claims_of_sentences_fail_on_figures_against_them(accuracy, failing):
    found = {"Subj": 85.0, "MR": 70.0, "SST-2": 70.0, "SST-5": 35.0} | accuracy
    most = {"Subj": 50.0, "MR": 50.0, "SST-2": 50.0, "SST-5": 25.0}
    rows = {
        f"{title}, SpikeGPT": {"accuracy": [value], "majority": [most[title]]}
        for title, value in found.items()
    }
    judged = spikegpt.claims(Measured(rows, preset="sentences"))
    assert {claim.id for claim in judged if not claim.holds} == failing
    rows = spikegpt.rows(spikegpt.EXPERIMENT.presets["sentences"])
    assert [row.name for row in rows[::2]] == [f"{title}, SpikeGPT" for title in found]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"model": "gpt"}, "model='gpt' is none of"),
        ({"layers": 0}, "have to be at least 1"),
        ({"dataset": "text_file"}, "needs a path"),
        ({"rate": 0.0}, r"rate=0\.0"),
        ({"dropout": 1.5}, r"dropout=1\.5"),
        ({"test": 0}, "test=0; both have to be at least 1"),
        ({"train": -1}, "train=-1"),
        ({"dataset": "sst2", "model": "bigram"}, "counts a text; sst2 is sentences"),
    ],
)
def test_config_refuses_what_cannot_run(change, text):
    with pytest.raises(ValueError, match=text):
        replace(SMOKE, **change)


def test_the_rate_falls_along_the_published_cosine():
    config = replace(SMOKE, steps=10, rate=6e-4, last_rate=1e-5)
    f = config.last_rate / config.rate
    rate = jax.tree.map(float, [spikegpt.rate_of(config)(step) for step in range(11)])
    expected = [
        config.rate * ((0.5 + f / 2) + (0.5 - f / 2) * np.cos(np.pi * step / 10))
        for step in range(11)
    ]
    np.testing.assert_allclose(rate, expected, rtol=1e-5)
