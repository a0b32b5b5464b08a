"""Weights under the names of the released code, beside its graph written out for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.spikegpt import spikegpt_blocks
from jaxlearn.models.spikegpt_weights import spikegpt_params

V, L, C, T = 13, 2, 8, 7
TOKENS = np.random.default_rng(3).integers(0, V, (2, T))


def published(first="time"):
    """A state dict as the training script writes it, with louder outputs so that neurons fire."""
    rng = np.random.default_rng(5)
    draw = lambda *shape, scale=1.0: (scale * rng.normal(size=shape)).astype(np.float32)
    arrays = {"emb.weight": draw(V, C), "head.weight": draw(V, C)}
    norms = ["ln_out", "blocks.0.ln0", *(f"blocks.{i}.ln{n}" for i in range(L) for n in (1, 2))]
    for name in norms:
        arrays |= {f"{name}.weight": 1 + draw(C, scale=0.2), f"{name}.bias": draw(C, scale=0.2)}
    for i in range(L):
        pre = first == "channel" and i == 0
        for name in [f"blocks.{i}.ffnPre"] * pre + [f"blocks.{i}.ffn"]:
            arrays |= {f"{name}.key.weight": draw(4 * C, C), f"{name}.value.weight": draw(C, 4 * C)}
            arrays |= {f"{name}.receptance.weight": draw(C, C)}
            arrays |= {f"{name}.time_mix_{s}": rng.random((1, 1, C)) for s in "kr"}
        if pre:
            continue
        name = f"blocks.{i}.att"
        arrays |= {f"{name}.{own}.weight": draw(C, C) for own in ("key", "value", "receptance")}
        arrays |= {f"{name}.output.weight": draw(C, C, scale=4.0)}
        arrays |= {f"{name}.time_mix_{s}": rng.random((1, 1, C)) for s in "kvr"}
        arrays |= {f"{name}.time_decay": draw(C), f"{name}.time_first": draw(C)}
    return arrays


def graph(arrays, tokens, first, spiking):
    """The released graph in float64 for one text, matrices `[outputs, inputs]`."""
    a = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    sigmoid = lambda z: 1 / (1 + np.exp(-z))

    def norm(x, name):
        y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return y * a[f"{name}.weight"] + a[f"{name}.bias"]

    def entry(x, name, share, matrix):
        mu, before = a[f"{name}.time_mix_{share}"][0], np.vstack([np.zeros((1, C)), x[:-1]])
        return (x * mu + before * (1 - mu)) @ a[f"{name}.{matrix}.weight"].T

    def attention(x, name):
        k, v = entry(x, name, "k", "key"), entry(x, name, "v", "value")
        w, u = -np.exp(a[f"{name}.time_decay"]), a[f"{name}.time_first"]
        P, Q, rows = np.zeros(C), np.zeros(C), []
        for t in range(len(x)):
            now = np.exp(u + k[t])
            rows.append((P + now * v[t]) / (Q + now))
            P, Q = np.exp(w) * P + np.exp(k[t]) * v[t], np.exp(w) * Q + np.exp(k[t])
        gate = sigmoid(entry(x, name, "r", "receptance"))
        return (gate * np.array(rows)) @ a[f"{name}.output.weight"].T

    def channels(x, name):
        k = np.maximum(entry(x, name, "k", "key"), 0) ** 2
        return sigmoid(entry(x, name, "r", "receptance")) * (k @ a[f"{name}.value.weight"].T)

    def fired(y):
        if not spiking:
            return y
        v, out = np.zeros(C), np.zeros_like(y)
        for t in range(len(y)):
            h = v + (y[t] - v) / 2
            out[t] = h >= 1
            v = np.where(h >= 1, 0, h)
        return out

    rows = a["emb.weight"][tokens]
    x = norm((rows >= 0).astype(float) if spiking else rows, "blocks.0.ln0")
    for i in range(L):
        name = f"blocks.{i}"
        if first == "channel" and i == 0:
            y = channels(norm(x, f"{name}.ln1"), f"{name}.ffnPre")
        else:
            y = attention(norm(x, f"{name}.ln1"), f"{name}.att")
        x = x + fired(y)
        x = x + fired(channels(norm(x, f"{name}.ln2"), f"{name}.ffn"))
    return norm(x, "ln_out") @ a["head.weight"].T


@pytest.mark.parametrize(
    ("first", "options"),
    [("time", {}), ("time", {"neuron": None, "binary": False}), ("channel", {})],
    ids=["SpikeGPT", "RWKV-4", "ffnPre"],
)
def test_logits_are_those_of_the_released_graph(first, options):
    arrays = published(first)
    model = stack(spikegpt_blocks(V, L, C, first=first, **options))
    params = jax.tree.map(jnp.float32, spikegpt_params(arrays, L, first))
    shapes, _ = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    logits, _ = jax.jit(model.apply)(params, {}, TOKENS)
    for row, tokens in zip(logits, TOKENS, strict=True):
        expected = graph(arrays, tokens, first, spiking=not options)
        np.testing.assert_allclose(row, expected, atol=1e-3, rtol=1e-3)


def test_a_missing_array_and_a_wrong_depth_are_named():
    arrays = published()
    del arrays["blocks.1.att.time_mix_v"]
    with pytest.raises(ValueError, match=r"no array 'blocks.1.att.time_mix_v'"):
        spikegpt_params(arrays, L)
    with pytest.raises(ValueError, match=r"no array 'blocks.2.ln1.weight'"):
        spikegpt_params(published(), L + 1)
    with pytest.raises(ValueError, match="more than the 1 layers"):
        spikegpt_params(published(), 1)
