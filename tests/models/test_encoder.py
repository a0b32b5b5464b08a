"""The encoder against BERT's equations in numpy, and its places for other layers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jaxlearn.core import FROZEN
from jaxlearn.models.encoder import (
    Encoder,
    PatchEmbedding,
    Pooler,
    SelfAttention,
    mean_of_tokens,
    vision_transformer,
)
from jaxlearn.models.layers.adapters import SNNKAdapter
from jaxlearn.models.layers.random_features import relu_features, universal_features
from jaxlearn.models.layers.snnk import SNNK, carry_over
from jaxlearn.models.minilm import minilm_embedding, minilm_encoder, minilm_params

KEY = jax.random.key(0)


def fake_weights():
    """Arrays with the names and shapes of the published ones."""
    rng = np.random.default_rng(0)
    made = {}

    def add(name, *shape):
        made[name] = 0.05 * rng.standard_normal(shape, np.float32)

    add("embeddings.word_embeddings.weight", 30522, 384)
    add("embeddings.position_embeddings.weight", 512, 384)
    add("embeddings.token_type_embeddings.weight", 2, 384)
    norms, square = ["embeddings.LayerNorm"], []
    for i in range(6):
        whole = f"encoder.layer.{i}."
        norms += [whole + "attention.output.LayerNorm", whole + "output.LayerNorm"]
        square += [whole + f"attention.self.{n}" for n in ("query", "key", "value")]
        square += [whole + "attention.output.dense"]
        add(whole + "intermediate.dense.weight", 1536, 384)
        add(whole + "intermediate.dense.bias", 1536)
        add(whole + "output.dense.weight", 384, 1536)
        add(whole + "output.dense.bias", 384)
    for name in norms:
        add(name + ".weight", 384)
        add(name + ".bias", 384)
        made[name + ".weight"] += 1
    for name in square:
        add(name + ".weight", 384, 384)
        add(name + ".bias", 384)
    return made


def bert(arrays, ids, layers):
    """BERT's equations in float64, from the embeddings to the last of `layers`."""
    a = lambda name: np.asarray(arrays[name], np.float64)
    linear = lambda x, name: x @ a(name + ".weight").T + a(name + ".bias")

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * a(name + ".weight") + a(name + ".bias")

    x = a("embeddings.word_embeddings.weight")[ids]
    x = x + a("embeddings.position_embeddings.weight")[: ids.shape[1]]
    x = norm(x + a("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    for i in range(layers):
        p = f"encoder.layer.{i}."
        heads = lambda y: y.reshape(*y.shape[:2], 12, 32).swapaxes(1, 2)
        q, k, v = (heads(linear(x, p + f"attention.self.{n}")) for n in ("query", "key", "value"))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(32)
        scores = np.where((ids != 0)[:, None, None], scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        y = (weights / weights.sum(-1, keepdims=True)) @ v
        y = linear(y.swapaxes(1, 2).reshape(x.shape), p + "attention.output.dense")
        x = norm(x + y, p + "attention.output.LayerNorm")
        h = linear(x, p + "intermediate.dense")
        h = h * 0.5 * (1 + erf(h / np.sqrt(2)))
        x = norm(x + linear(h, p + "output.dense"), p + "output.LayerNorm")
    return x


def test_minilm_follows_the_equations_of_bert_whole_or_in_two_parts():
    arrays = fake_weights()
    params = minilm_params(arrays)
    ids = np.array([[101, 7, 8, 102], [101, 9, 102, 0]])
    x, mask = minilm_embedding().apply({"params": params["embed"]}, ids)
    for last in (1, 2):
        found = minilm_encoder(0, last).apply({"params": params["encoder"]}, x, mask)
        expected = bert(arrays, ids, last)
        np.testing.assert_allclose(found[ids != 0], expected[ids != 0], atol=2e-4)
    below = minilm_encoder(0, 1).apply({"params": params["encoder"]}, x, mask)
    above = minilm_encoder(1, 2).apply({"params": params["encoder"]}, below, mask)
    np.testing.assert_allclose(above, found, atol=1e-5)
    del arrays["embeddings.LayerNorm.bias"]
    with pytest.raises(ValueError, match=r"no array 'embeddings.LayerNorm.bias'"):
        minilm_params(arrays)
    with pytest.raises(ValueError, match="not within 0 to 6"):
        minilm_encoder(3, 3)


@pytest.mark.slow
def test_padding_changes_nothing():
    encoder = Encoder(1, 2, 8)
    x = jax.random.normal(KEY, (1, 4, 8))
    mask = jnp.array([[True, True, True, False]])
    params, apply = jax.jit(encoder.init)(KEY, x, mask), jax.jit(encoder.apply)
    whole, cut = apply(params, x, mask), apply(params, x[:, :3], mask[:, :3])
    np.testing.assert_allclose(whole[:, :3], cut, atol=1e-5)
    pooled = mean_of_tokens(whole, mask)
    np.testing.assert_allclose(pooled, cut.mean(1), atol=1e-5)


def test_adapters_stand_in_the_top_layers_and_start_as_nothing():
    x = jax.random.normal(KEY, (2, 4, 8))
    adapter = lambda name: SNNKAdapter(relu_features(3), name=name)
    adapted = Encoder(2, 2, 8, adapter=adapter, adapted=1, norm_first=True)
    variables = jax.jit(adapted.init)(KEY, x)
    has = {k for k, v in variables["params"].items() if "adapter_ffn" in v}
    assert has == {"layer_1"}
    assert set(variables[FROZEN]["layer_1"]) == {"adapter_attention", "adapter_ffn"}
    plain = Encoder(2, 2, 8, norm_first=True)
    params = carry_over(variables["params"], jax.jit(plain.init)(KEY, x)["params"])
    y, z = jax.jit(adapted.apply)(variables, x), jax.jit(plain.apply)({"params": params}, x)
    np.testing.assert_allclose(y, z, atol=1e-6)


@pytest.mark.slow
def test_uptraining_replaces_the_hidden_layers_of_the_top_with_draws_of_their_own():
    build = partial(vision_transformer, 3, patch=2, width=8, layers=3, heads=2, hidden=12)
    features = relu_features(5)
    new = build(replaced=lambda name: SNNK(12, features, name=name), uptrained=2)
    images = jax.random.normal(KEY, (2, 4, 4, 1))
    dense, _ = jax.jit(build().init)(KEY, images)
    target, state = jax.jit(new.init)(jax.random.key(1), images)
    params = carry_over(dense, target, state[FROZEN], features)
    layers = params["encoder"]
    assert [set(layers[f"layer_{i}"]["hidden"]) for i in range(3)] == [
        {"kernel", "bias"},
        {"omega"},
        {"omega"},
    ]
    fixed = [state[FROZEN]["encoder"][f"layer_{i}"]["hidden"]["draws"] for i in (1, 2)]
    assert not np.array_equal(fixed[0]["directions"], fixed[1]["directions"])
    rows = dense["encoder"]["layer_2"]["hidden"]["kernel"].T
    np.testing.assert_array_equal(
        layers["layer_2"]["hidden"]["omega"], features.psi(fixed[1], rows, None)
    )
    assert jax.eval_shape(new.apply, params, state, images)[0].shape == (2, 3)


@pytest.mark.slow
def test_a_linearised_pooler_starts_from_the_trained_one():
    build = partial(vision_transformer, 3, patch=2, width=8, layers=1, heads=2, hidden=12)
    features = universal_features("sin", 6, form="asymmetric")
    images = jax.random.normal(KEY, (2, 4, 4, 1))
    dense, _ = jax.jit(build(pooler=lambda name: Pooler(8, name=name)).init)(KEY, images)
    new = build(pooler=lambda name: SNNK(8, features, name=name))
    target, state = jax.jit(new.init)(KEY, images)
    params = carry_over(dense, target, state[FROZEN], features)
    pooler = dense["pooler"]
    expected = features.psi(state[FROZEN]["pooler"]["draws"], pooler["kernel"].T, pooler["bias"])
    np.testing.assert_array_equal(params["pooler"]["omega"], expected)


def test_pooler_is_tanh_of_a_dense_layer():
    x = jax.random.normal(KEY, (2, 4))
    params = Pooler(3).init(KEY, x)
    layer = params["params"]
    np.testing.assert_allclose(Pooler(3).apply(params, x), np.tanh(x @ layer["kernel"]), rtol=1e-5)


def test_patches_are_the_squares_of_the_image():
    images = jnp.arange(16.0).reshape(1, 4, 4, 1)
    embed = PatchEmbedding(2, 4)
    params = jax.tree.map(jnp.zeros_like, embed.init(KEY, images))
    params["params"]["patch"]["kernel"] = jnp.eye(4)
    x, mask = embed.apply(params, images)
    assert mask is None
    assert x[0, 1].tolist() == [2, 3, 6, 7]
    with pytest.raises(ValueError, match="patches of 3 do not divide"):
        PatchEmbedding(3, 4).init(KEY, images)
    with pytest.raises(ValueError, match="3 heads do not divide"):
        SelfAttention(3).init(KEY, jnp.ones((1, 2, 4)), None)
