"""What the table of sparse, locally taught spiking networks measures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import sparse_local_spiking as experiment
from jaxlearn.core import make_state, make_step
from jaxlearn.transforms.sparsity import masks

SMALL = replace(experiment.PRESETS["smoke"], layers=3, width=8)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.random((6, 8, 8, 1), np.float32)
    return {"inputs": images, "labels": np.arange(6) % 10, "index": np.arange(6)}


def state_of(config, batch):
    rule = experiment.rule_of(config)
    return rule, jax.jit(lambda: make_state(rule, optax.sgd(0.1), jax.random.key(0), batch))()


@pytest.mark.parametrize("teacher", experiment.TEACHERS)
def test_weights_are_found_in_the_order_of_the_layers(teacher, batch):
    _, state = state_of(replace(SMALL, teacher=teacher), batch)
    params = experiment.network_params(state.params)
    assert list(params) == ["0", "1", "2", "3"]
    kernels = [own.get("Dense_0", own)["kernel"].shape for own in params.values()]
    assert kernels == [(64, 8), (8, 8), (8, 8), (8, 10)]


def test_operations_are_those_of_a_walk_over_all_spikes(batch):
    """Against a plain loop over steps, neurons and weights, in float64."""
    config = replace(SMALL, teacher="greedy", layers=2, T=3)
    rule, state = state_of(config, batch)
    params = jax.tree.map(lambda leaf: np.where(np.abs(leaf) < 0.05, 0, leaf), state.params)
    state = state._replace(params=jax.tree.map(jnp.asarray, params))
    found = jax.jit(lambda: experiment.measure(config, rule, state, batch))()
    own = [part.get("Dense_0", part) for part in experiment.network_params(params).values()]
    operations, fired = 0, 0
    x = batch["inputs"].reshape(6, -1).astype(np.float64)
    membranes = [np.zeros((6, 8)), np.zeros((6, 8))]
    for _ in range(config.T):
        operations += 6 * np.count_nonzero(own[0]["kernel"])
        spikes = x
        for layer in range(2):
            current = spikes @ own[layer]["kernel"] + own[layer]["bias"]
            membranes[layer] = (1 - 1 / config.tau) * membranes[layer] + current
            spikes = (membranes[layer] >= 1).astype(np.float64)
            membranes[layer] -= spikes
            fired += spikes.sum()
            operations += (spikes @ (own[layer + 1]["kernel"] != 0)).sum()
    np.testing.assert_allclose(found["kilo_operations"], operations / 6000, rtol=1e-5)
    np.testing.assert_allclose(found["firing"], 100 * fired / (6 * 3 * 16), rtol=1e-5)


@pytest.mark.parametrize(
    "teacher",
    [t if t == "greedy" else pytest.param(t, marks=pytest.mark.slow) for t in experiment.TEACHERS],
)
def test_heads_stay_dense_and_the_network_gets_its_share(teacher, batch):
    config = replace(SMALL, teacher=teacher, density=0.1)
    rule, tx = experiment.rule_of(config), experiment.transform_of(config, 40)
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(0), batch))()
    step = jax.jit(make_step(rule, tx))
    for _ in range(40):
        state, _ = step(state, batch)
    kept = masks(state.opt_state)
    assert not jax.tree.leaves(kept.get("heads"))
    leaves = jax.tree.leaves(kept)
    total = sum(leaf.size for leaf in leaves)
    assert sum(int(leaf.sum()) for leaf in leaves) == total // 10


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"teacher": "tutor"}, "teacher='tutor' is none of"),
        ({"density": 0.0}, r"density=0.0 has to lie in \(0, 1\]"),
        ({"dataset": "mnist"}, "take 'spoken_digits' or 'digits'"),
        ({"T": 1}, "layers=3, T=1; both have to be 2 or more"),
    ],
)
def test_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **wrong)
