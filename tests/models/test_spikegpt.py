"""SpikeGPT: the identities of its blocks, and its equations written out by hand."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.lif import Neuron

from jaxlearn.analysis.hidden import hidden_outputs
from jaxlearn.core import stack, trees
from jaxlearn.models.decoder import decoder_blocks
from jaxlearn.models.recurrent_lm import recurrent_lm_blocks
from jaxlearn.models.spikegpt import NEURON, spikegpt_blocks, text_classifier
from jaxlearn.objectives.next_token import next_token
from tests.drawn import variables

V, L, C, T, B = 17, 3, 16, 12, 3
KEY = jax.random.key(0)
TOKENS = jnp.asarray(np.random.default_rng(1).integers(0, V, (B, T)))
VARIANTS = {
    "spikegpt": {},
    "rwkv": {"neuron": None, "binary": False},
    "channel mix first": {"first": "channel"},
    "spikes within": {"hidden": NEURON},
    "no leak": {"neuron": Neuron(decay=1.0, reset="hard", surrogate="atan", alpha=2.0)},
}


@cache
def started(first="time"):
    """The first parameters, which no neuron changes."""
    return jax.jit(stack(spikegpt_blocks(V, L, C, first=first)).init)(KEY, TOKENS)[0]


def lively(**options):
    """A model whose neurons fire: larger weights behind every mix."""
    blocks = spikegpt_blocks(V, L, C, **options)
    shapes, state = jax.eval_shape(stack(blocks).init, KEY, TOKENS)
    params = started(options.get("first", "time"))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    assert not trees.lasting(state)
    louder = lambda path, leaf: 4 * leaf if "output" in str(path) or "value" in str(path) else leaf
    return blocks, jax.tree.map_with_path(louder, params), {}


@pytest.mark.parametrize(
    "name",
    [n if n in ("spikegpt", "rwkv") else pytest.param(n, marks=pytest.mark.slow) for n in VARIANTS],
)
def test_identity_3_streaming_equals_reading_at_once(name):
    blocks, params, state = lively(**VARIANTS[name])
    read = jax.jit(stack(blocks).apply)
    whole, after = read(params, state, TOKENS)
    for cuts in ((1,) * T, (5, 1, 6)):
        going, parts = state, []
        for part in np.split(TOKENS, np.cumsum(cuts)[:-1], axis=1):
            logits, going = read(params, going, part)
            parts.append(logits)
        np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=1e-4)
        for a, b in zip(jax.tree.leaves(going), jax.tree.leaves(after), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_identity_4_no_token_is_seen_before_it_comes():
    blocks, params, state = lively()
    read = jax.jit(stack(blocks).apply)
    logits, _ = read(params, state, TOKENS)
    for t in (1, 7):
        changed, _ = read(params, state, TOKENS.at[:, t].set((TOKENS[:, t] + 1) % V))
        np.testing.assert_array_equal(changed[:, :t], logits[:, :t])
        assert (changed[:, t:] != logits[:, t:]).any()


def test_identity_5_blocks_add_whole_numbers_of_spikes():
    blocks, params, state = lively()
    first, *rest = jax.jit(partial(hidden_outputs, blocks[:-1]))(params, state, TOKENS)
    fired = 0.0
    before = first
    for x in rest:
        added = np.asarray(x - before)
        np.testing.assert_allclose(added, added.round(), atol=1e-5)
        assert added.round().min() >= 0
        assert added.round().max() <= 2
        fired, before = fired + added.sum(), x
    assert fired > 0
    total = np.asarray(rest[-1] - first)
    assert total.round().min() >= 0
    assert total.round().max() <= 2 * L
    # the norm of the first block sees zeros and ones alone: one mean and one deviation per token
    rows = np.asarray(params["0"]["embedding"])[np.asarray(TOKENS)] >= 0
    mean, std = rows.mean(-1, keepdims=True), rows.std(-1, keepdims=True)
    np.testing.assert_allclose(first, (rows - mean) / np.sqrt(std**2 + 1e-5), atol=1e-5)


def test_identity_7_rwkv_initialisation_is_silent_and_still_learns():
    blocks = spikegpt_blocks(65, 3, 64, init="rwkv", dropout=0.0)
    model, tokens = stack(blocks), jax.random.randint(KEY, (2, 40), 0, 65)
    params, state = jax.jit(model.init)(KEY, tokens)
    first, *rest = jax.jit(partial(hidden_outputs, blocks[:-1]))(params, state, tokens)
    for x in rest:
        np.testing.assert_array_equal(x, first)
    batch = {"labels": jax.random.randint(jax.random.key(9), (2, 40), 0, 65)}

    def loss_of(params):
        return next_token()(model.apply(params, trees.lasting(state), tokens)[0], batch)[0]

    loss, grads = jax.jit(jax.value_and_grad(loss_of))(params)
    assert abs(float(loss) - np.log(65)) < 0.2
    # W_o is 0, so only the surrogate at -1 lets its gradient through
    for layer in ("1", "2", "3"):
        assert np.abs(grads[layer]["mix_2"]["value"]["kernel"]).max() > 0
        assert np.abs(grads[layer]["mix_1"]["output"]["kernel"]).max() > 0
    assert np.isclose(1 / (1 + np.pi**2), 0.092, atol=1e-4)
    embedding = np.asarray(params["0"]["embedding"])
    assert 0.4 < (embedding >= 0).mean() < 0.6


def reference(params, tokens):
    """The equations in float64 NumPy, one token after the other, one sequence at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))

    def norm(x, own):
        y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * own["scale"] + own["bias"]

    def shifted(x):
        return np.concatenate([np.zeros((1, x.shape[1])), x[:-1]])

    def mix(x, mu):
        return x * mu["mu"] + shifted(x) * (1 - mu["mu"])

    def time_mix(x, own):
        k = mix(x, own["mix_k"]) @ own["key"]["kernel"]
        v = mix(x, own["mix_v"]) @ own["value"]["kernel"]
        r = sigmoid(mix(x, own["mix_r"]) @ own["receptance"]["kernel"])
        w, u = -np.exp(own["time_decay"]), own["time_first"]
        y = np.zeros_like(v)
        for t in range(len(x)):
            weights = [np.exp(w * (t - 1 - i) + k[i]) for i in range(t)] + [np.exp(u + k[t])]
            y[t] = sum(a * b for a, b in zip(weights, v[: t + 1], strict=True)) / sum(weights)
        return (r * y) @ own["output"]["kernel"]

    def channel_mix(x, own):
        k = np.maximum(mix(x, own["mix_k"]) @ own["key"]["kernel"], 0) ** 2
        r = sigmoid(mix(x, own["mix_r"]) @ own["receptance"]["kernel"])
        return r * (k @ own["value"]["kernel"])

    def spikes(y):
        v, out = np.zeros(y.shape[1]), np.zeros_like(y)
        for t in range(len(y)):
            h = v + (y[t] - v) / 2
            out[t] = h >= 1
            v = (1 - out[t]) * h
        return out

    x = norm((p["0"]["embedding"][tokens] >= 0).astype(float), p["0"]["norm"])
    for layer in map(str, range(1, L + 1)):
        own = p[layer]
        x = x + spikes(time_mix(norm(x, own["norm_1"]), own["mix_1"]))
        x = x + spikes(channel_mix(norm(x, own["norm_2"]), own["mix_2"]))
    last = p[str(L + 1)]
    return norm(x, last["norm"]) @ last["head"]["kernel"]


def test_logits_are_those_of_the_equations():
    blocks, params, state = lively()
    logits, _ = jax.jit(stack(blocks).apply)(params, state, TOKENS)
    for row, tokens in zip(logits, np.asarray(TOKENS), strict=True):
        np.testing.assert_allclose(row, reference(params, tokens), atol=1e-4)


def test_channels_begin_as_published():
    params = started()
    for l in range(L):
        own = params[str(l + 1)]["mix_1"]
        deep, shallow, h = l / (L - 1), 1 - l / L, np.arange(C)
        slow = -5 + 8 * (h / (C - 1)) ** (0.7 + 1.3 * deep)
        np.testing.assert_allclose(own["time_decay"], slow, rtol=1e-5)
        favour = np.log(0.3) + np.array([0, 0.5, -0.5])[h % 3]
        np.testing.assert_allclose(own["time_first"], favour, rtol=1e-5)
        np.testing.assert_allclose(own["mix_k"]["mu"], (h / C) ** shallow, rtol=1e-5)
        np.testing.assert_allclose(own["mix_v"]["mu"], (h / C) ** shallow + 0.3 * deep, rtol=1e-5)
        np.testing.assert_allclose(own["mix_r"]["mu"], (h / C) ** (shallow / 2), rtol=1e-5)
        for name in ("mix_k", "mix_r"):
            mu = params[str(l + 1)]["mix_2"][name]["mu"]
            np.testing.assert_allclose(mu, (h / C) ** shallow, rtol=1e-5)


@pytest.mark.parametrize(
    "vocabulary, layers, width, millions", [(6064, 12, 512, 47), (50_277, 18, 768, 215)]
)
def test_the_published_models_have_as_many_weights(vocabulary, layers, width, millions):
    model = stack(spikegpt_blocks(vocabulary, layers, width))
    shapes, _ = jax.eval_shape(model.init, KEY, jnp.zeros((1, 4), jnp.int32))
    size = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert abs(size / 1e6 - millions) < 1
    matrices = 13 * width**2 * layers + 2 * vocabulary * width
    assert abs(size - matrices) < 0.01 * size


def test_padding_does_not_reach_the_classifier():
    blocks = spikegpt_blocks(V, L, C)[:-1]
    model = text_classifier(blocks, 2)
    texts = jnp.where(jnp.arange(T) < 7, jnp.maximum(TOKENS, 1), 0)
    params, state = variables(model, texts)
    read = jax.jit(model.apply)
    long, _ = read(params, trees.lasting(state), texts)
    short, _ = read(params, trees.lasting(state), texts[:, :7])
    np.testing.assert_allclose(long, short, rtol=1e-5, atol=1e-5)
    below, _ = jax.eval_shape(stack(blocks).init, KEY, texts)
    assert jax.tree.structure(params["body"]) == jax.tree.structure(below)


@pytest.mark.parametrize("make", [decoder_blocks, recurrent_lm_blocks])
def test_baselines_do_not_see_later_tokens(make):
    longest = {"longest": T} if make is decoder_blocks else {}
    model = stack(make(V, 2, C, **longest))
    params, state = variables(model, TOKENS)
    read = jax.jit(model.apply)
    logits, _ = read(params, trees.lasting(state), TOKENS)
    changed, _ = read(params, trees.lasting(state), TOKENS.at[:, 6].add(1) % V)
    np.testing.assert_array_equal(changed[:, :6], logits[:, :6])
    assert (changed[:, 6:] != logits[:, 6:]).any()


def test_a_decoder_refuses_more_tokens_than_places():
    model = stack(decoder_blocks(V, 1, C, longest=4))
    with pytest.raises(ValueError, match="12 tokens, but there are 4 places"):
        model.init(KEY, TOKENS)
