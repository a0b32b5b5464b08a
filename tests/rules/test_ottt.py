"""OTTT (Xiao et al., NeurIPS 2022) against backpropagation through time and against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import from_linen, stack
from jaxlearn.models.layers.lif import Lif
from jaxlearn.models.layers.traced import traced
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import bptt, ottt, sltt

T, KEY = 5, jax.random.key(0)
INIT = linen.initializers.variance_scaling(4.0, "fan_in", "normal")


def batch(size=6, features=7):
    x_key, y_key = jax.random.split(KEY)
    labels = jax.random.randint(y_key, (size,), 0, 3)
    inputs = 1.5 * jax.random.normal(x_key, (size, T, features))
    return {"inputs": inputs, "labels": labels, "index": jnp.arange(size, dtype=jnp.int32)}


def layers(count, decay, **options):
    """Pairs of a linear map without a bias and neurons, and a readout."""
    linear = from_linen(linen.Dense(8, use_bias=False, kernel_init=INIT))
    neurons = from_linen(Lif(Neuron(decay=decay, **options)))
    return [(linear, neurons)] * count, from_linen(linen.Dense(3))


def gradient(rule):
    params, state = jax.jit(rule.init)(KEY, batch())
    grads, _, metrics = jax.jit(rule.signal)(params, state, batch(), KEY)
    return jax.tree.leaves(grads), metrics, params


def plain(pairs, readout):
    return stack([*(part for pair in pairs for part in pair), readout])


def close(a, b, rtol=1e-5):
    for x, y in zip(a, b, strict=True):
        assert np.linalg.norm(x - y) <= rtol * np.linalg.norm(y)


def test_one_layer_with_a_detached_soft_reset_has_the_gradient_of_bptt():
    pairs, readout = layers(1, 0.7, detach_reset=True)
    ours, metrics, _ = gradient(ottt(pairs, readout, cross_entropy, T, decay=0.7, time_axis=1))
    full, whole, _ = gradient(bptt(plain(pairs, readout), cross_entropy, T, time_axis=1))
    cut, _, _ = gradient(sltt(plain(pairs, readout), cross_entropy, T, time_axis=1))
    close(ours, full)
    np.testing.assert_allclose(metrics["loss"], whole["loss"], rtol=1e-6)
    assert np.linalg.norm(cut[0] - full[0]) > 0.1 * np.linalg.norm(full[0])


def test_without_a_leak_it_is_sltt():
    pairs, readout = layers(2, 0.0)
    ours, _, _ = gradient(ottt(pairs, readout, cross_entropy, T, decay=0.0, time_axis=1))
    close(ours, gradient(sltt(plain(pairs, readout), cross_entropy, T, time_axis=1))[0], 1e-6)


def by_hand(params, decay):
    """Two layers and a readout, traces and signals step by step in float64."""
    first, second, last = (np.asarray(params[n]["kernel"], np.float64) for n in "024")
    x, labels = np.asarray(batch()["inputs"], np.float64), np.asarray(batch()["labels"])
    v, a = [0.0, 0.0], [0.0, 0.0]
    grads = [np.zeros_like(w) for w in (first, second, last)]
    for t in range(T):
        inputs, slopes = [x[:, t]], []
        for i, w in enumerate((first, second)):
            a[i] = decay * a[i] + inputs[-1]
            u = decay * v[i] + inputs[-1] @ w
            spikes = (u >= 1) * 1.0
            v[i] = u - spikes
            slopes.append(np.maximum(0, 1 - np.abs(u - 1)))
            inputs.append(spikes)
        logits = np.exp(inputs[2] @ last)
        delta = (logits / logits.sum(1, keepdims=True) - np.eye(3)[labels]) / len(x)
        grads[2] += inputs[2].T @ delta / T
        delta = (delta @ last.T) * slopes[1]
        grads[1] += a[1].T @ delta / T
        grads[0] += a[0].T @ ((delta @ second.T) * slopes[0]) / T
    return grads


def test_matches_traces_and_signals_written_out_in_numpy():
    pairs, readout = layers(2, 0.6)
    rule = ottt(pairs, readout, cross_entropy, T, decay=0.6, time_axis=1)
    params, state = jax.jit(rule.init)(KEY, batch())
    grads, _, _ = jax.jit(rule.signal)(params, state, batch(), KEY)
    close([grads[n]["kernel"] for n in "024"], by_hand(params, 0.6), 1e-5)


def test_the_output_of_a_traced_block_is_the_block_s_to_the_bit():
    dense = from_linen(linen.Dense(8))
    params, state = traced(dense, 0.9).init(KEY, jnp.zeros((6, 7)))
    for t in range(3):
        x = batch()["inputs"][:, t]
        y, state = traced(dense, 0.9).apply(params, state, x)
        np.testing.assert_array_equal(y, dense.apply(params, {}, x)[0])


def test_memory_does_not_grow_with_time():
    pairs, readout = layers(2, 0.6)
    still = {"inputs": jnp.ones((64, 64)), "labels": jnp.zeros(64, jnp.int32)}

    def temp_bytes(T):
        rule = ottt(pairs, readout, cross_entropy, T, decay=0.6)
        shapes = jax.eval_shape(rule.init, KEY, still)
        compiled = jax.jit(rule.signal).lower(*shapes, still, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert abs(temp_bytes(32) - temp_bytes(4)) < 0.05 * temp_bytes(4)


def test_a_decay_out_of_range_is_refused():
    with pytest.raises(ValueError, match="decay must lie in"):
        ottt(*layers(1, 0.5), cross_entropy, T, decay=1.5)
