"""Networks with delays against the same network written out in numpy, step by step."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack, trees
from jaxlearn.models.delay_network import delay_blocks, delay_neuron
from jaxlearn.models.layers.heaviside import HeavisideSequence
from jaxlearn.models.layers.leaky_integrator import LeakyIntegrator, LeakyIntegratorSequence
from jaxlearn.models.layers.parametric_lif import ParametricLifSequence
from jaxlearn.transforms.schedules import one_cycle
from tests.compiled import compiled

KEY = jax.random.key(0)
X = jnp.asarray(2 * np.random.default_rng(1).normal(size=(3, 10, 4)), jnp.float32)


def network(longest=7, **options):
    return compiled(stack(delay_blocks(5, (6,), longest, tau=1.5, **options)))


@cache
def started():
    """The variables; no answer changes them."""
    return network().init(KEY, X)


def made(**options):
    return network(**options), *started()


def written_out(params, x, answer):
    """The network in double precision, delays rounded, running statistics untouched (0 and 1)."""

    def synapses(part, x):
        w = np.asarray(part["kernel"], np.float64)
        delay = (7 - 1 - 3 - np.round(np.asarray(part["position"]))).astype(int)
        wide = np.concatenate([x, np.zeros((len(x), 3, x.shape[2]))], 1)
        y = np.zeros((*wide.shape[:2], w.shape[-1]))
        for s, i, o in np.ndindex(w.shape):
            d = delay[s, i, o]
            y[:, d:, o] += w[s, i, o] * wide[:, : wide.shape[1] - d, i]
        return y

    first, last = (params[name]["synapses"]["DelayedLinear_0"] for name in ("0", "1"))
    y = synapses(first, np.asarray(x, np.float64)) / np.sqrt(1 + 1e-5)
    v, spikes = np.zeros((len(x), y.shape[2])), np.zeros_like(y)
    for t in range(y.shape[1]):
        h = v / 3 + y[:, t]
        spikes[:, t] = h >= 1
        v = h * (1 - spikes[:, t])
    y = synapses(last, spikes)
    v, membranes = np.zeros((len(x), y.shape[2])), []
    for t in range(y.shape[1]):
        v = v / 3 + y[:, t]
        membranes.append(v)
    m = np.stack(membranes, 1)
    if answer == "softmax":
        e = np.exp(m - m.max(-1, keepdims=True))
        return (e / e.sum(-1, keepdims=True)).sum(1)
    return m.mean(1) if answer == "mean" else m.max(1)


@pytest.mark.parametrize("answer", ["softmax", "mean", "max"])
def test_the_network_is_the_equations(answer):
    model, params, state = made(answer=answer)
    found = model.apply(params, state, X)[0]
    expected = written_out(params, X, answer)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_identity_4_without_delays_it_is_the_network_of_linear_layers():
    _, params, state = made()
    still = jax.tree.map_with_path(
        lambda path, leaf: jnp.full_like(leaf, 3) if "position" in str(path[-1]) else leaf, params
    )
    linear, plain = network(1, answer="max"), network(answer="max")
    only = jax.tree.map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "position" in str(path[-1]) else leaf, params
    )
    # late zeros let membranes decay towards 0, which moves no positive maximum
    a, b = plain.apply(still, state, X)[0], linear.apply(only, state, X)[0]
    positive = np.asarray(b) > 0
    assert positive.sum() > 5
    np.testing.assert_allclose(np.asarray(a)[positive], np.asarray(b)[positive], atol=1e-5)


def test_a_dropout_mask_holds_for_the_whole_sequence():
    layers = [compiled(delay_blocks(5, (40,), 7, tau=1.5, dropout=rate)[0]) for rate in (0.0, 0.5)]
    params, state = layers[0].init(KEY, X)
    full, part = (
        np.asarray(layer.apply(params, state, X, train=True, key=KEY)[0]) for layer in layers
    )
    kept = (part > 0).any(1)
    assert 0.3 < kept.sum() / (full > 0).any(1).sum() < 0.7
    np.testing.assert_allclose(part, 2 * full * kept[:, None])


def test_the_readout_of_spikes_counts_them():
    model, params, state = made(answer="spikes")
    counts = model.apply(params, state, X)[0]
    np.testing.assert_array_equal(counts, np.round(counts))
    assert 0 < float(counts.max()) <= 16


def test_the_neuron_of_the_paper():
    neuron = delay_neuron(1.005)
    assert neuron.decay == pytest.approx(0.005, rel=1e-2)
    assert (neuron.reset, neuron.detach_reset, neuron.surrogate) == ("hard", True, "atan")


def test_the_integrator_at_once_is_its_steps():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)), jnp.float32)
    whole, _ = LeakyIntegratorSequence(0.7).apply({}, x, mutable=["sequence"])
    state, steps = {}, []
    for now in x:
        y, state = LeakyIntegrator(0.7).apply(state, now, mutable=["sequence"])
        steps.append(y)
    np.testing.assert_allclose(whole, jnp.stack(steps), atol=1e-6)
    again, _ = LeakyIntegratorSequence(0.7).apply(state, x[:1], mutable=["sequence"])
    np.testing.assert_allclose(again[0], 0.7 * steps[-1] + x[0], atol=1e-6)


def test_one_cycle_is_the_published_schedule():
    total, low, peak, last = 60, 0.2, 5.0, 1e-5
    rate = jax.jit(one_cycle(low, peak, last, total))
    for step in range(total):
        up = step <= 0.3 * total - 1
        a, b = (low, peak) if up else (peak, last)
        begin, end = (0, 0.3 * total - 1) if up else (0.3 * total - 1, total - 1)
        share = (step - begin) / (end - begin)
        expected = b + (a - b) / 2 * (1 + np.cos(np.pi * share))
        assert float(rate(step)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_filters_stand_before_every_layer_that_spikes_come_to():
    """With the spikes of the first layer, the second is a filter by hand and the plain layer."""
    blocks = delay_blocks(5, (6,), 7, tau=1.5, answer="max", filtered=0.5)
    blocks, model = [compiled(block) for block in blocks], compiled(stack(blocks))
    params, state = model.init(KEY, X)
    filters = [path for path, _ in jax.tree.leaves_with_path(params) if path[-1].key == "w"]
    assert len(filters) == 1
    spikes = np.asarray(blocks[0].apply(params["0"], trees.part(state, "0"), X)[0], np.float64)
    y, currents = np.zeros(spikes[:, 0].shape), []
    for t in range(spikes.shape[1]):
        y = np.where(spikes[:, t] > 0, y + 1, 0.5 * y)
        currents.append(y)
    assert np.stack(currents).max() > 1
    plain = compiled(delay_blocks(5, (6,), 7, tau=1.5, answer="max")[1])
    rest = {"synapses": {"DelayedLinear_0": params["1"]["synapses"]["DelayedLinear_0"]}}
    found = plain.apply(rest, trees.part(state, "1"), jnp.asarray(np.stack(currents, 1)))[0]
    whole = model.apply(params, state, X)[0]
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-5)
    unfiltered = network(answer="max").apply(params, state, X)[0]
    assert np.abs(np.asarray(found) - unfiltered).max() > 1e-3


@pytest.mark.parametrize("layer", [ParametricLifSequence, HeavisideSequence])
def test_other_neurons_fire_by_their_own_rule(layer):
    """One hidden layer without delays: what fires is what the neuron says of the currents."""
    block = compiled(delay_blocks(5, (6,), 1, tau=1.5, layer=layer)[0])
    params, state = block.init(KEY, X)
    found = np.asarray(block.apply(params, state, X)[0])
    kernel = np.asarray(params["synapses"]["DelayedLinear_0"]["kernel"][0], np.float64)
    current = np.asarray(X, np.float64) @ kernel / np.sqrt(1 + 1e-5)
    v, expected = np.zeros(current[:, 0].shape), np.zeros_like(current)
    for t in range(current.shape[1]):
        h = current[:, t] + (v / 3 if layer is ParametricLifSequence else 0)
        expected[:, t] = h >= 1
        v = h * (1 - expected[:, t])
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(found, expected)
    learned = [path for path, _ in jax.tree.leaves_with_path(params) if path[-1].key == "w"]
    assert len(learned) == (layer is ParametricLifSequence)


def test_filters_get_spikes_that_no_dropout_has_scaled():
    """Spikes of 2 would make a filter's leak a growth; so dropout comes behind the filter."""
    first, last = delay_blocks(5, (6,), 7, tau=1.5, dropout=0.5, filtered=0.5)
    first, model = compiled(first), compiled(stack([first, last]))
    params, state = model.init(KEY, X)
    train = {"train": True, "key": jax.random.key(1)}
    spikes, _ = first.apply(params["0"], trees.part(state, "0"), X, **train)
    assert set(np.unique(spikes)) == {0.0, 1.0}
    dropped, _ = model.apply(params, state, X, **train)
    whole, _ = model.apply(params, state, X, train=True, key=jax.random.key(2))
    assert not np.allclose(dropped, whole)
