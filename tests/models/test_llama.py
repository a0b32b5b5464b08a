"""Llama against its equations in numpy, and the text of the published stories260K."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.data import MissingData
from jaxlearn.data.llama2c import stories260k
from jaxlearn.models.generate import generate_by_rereading
from jaxlearn.models.llama import from_llama2c, llama_blocks, rotated
from jaxlearn.models.tied import tied

KEY = jax.random.key(0)
WIDTH, HIDDEN, LAYERS, HEADS, KEY_HEADS, VOCABULARY = 8, 12, 2, 4, 2, 11


def in_numpy(arrays, heads, key_heads, tokens):
    """The logits by the equations, float64, weights `[outputs, inputs]`."""
    w = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    d = w["token"].shape[1] // heads
    norm = lambda x, scale: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale

    def turn(x):
        """Pairs as complex numbers, turned by their angle."""
        angle = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(0, d, 2) / d)
        z = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)[:, None]
        return np.stack([z.real, z.imag], -1).reshape(x.shape)

    x = w["token"][tokens]
    for i in range(len(w["wq"])):
        y = norm(x, w["attention_norm"][i])
        q = turn((y @ w["wq"][i].T).reshape(len(x), heads, d))
        k = turn((y @ w["wk"][i].T).reshape(len(x), key_heads, d))
        v = (y @ w["wv"][i].T).reshape(len(x), key_heads, d)
        k, v = (np.repeat(part, heads // key_heads, 1) for part in (k, v))
        score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        score[:, *np.triu_indices(len(x), 1)] = -np.inf
        weight = np.exp(score - score.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        x = x + np.einsum("hij,jhd->ihd", weight, v).reshape(len(x), -1) @ w["wo"][i].T
        y = norm(x, w["ffn_norm"][i])
        gate = y @ w["w1"][i].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["w3"][i].T)) @ w["w2"][i].T
    return norm(x, w["norm"]) @ w["token"].T


def drawn():
    """Arrays by llama2.c's names, at random."""
    rng, keys = np.random.default_rng(0), WIDTH // HEADS * KEY_HEADS
    shapes = {"wq": (WIDTH, WIDTH), "wk": (keys, WIDTH), "wv": (keys, WIDTH), "wo": (WIDTH, WIDTH)}
    shapes |= {"w1": (HIDDEN, WIDTH), "w2": (WIDTH, HIDDEN), "w3": (HIDDEN, WIDTH)}
    shapes |= {"attention_norm": (WIDTH,), "ffn_norm": (WIDTH,)}
    made = {name: rng.standard_normal((LAYERS, *shape)) for name, shape in shapes.items()}
    return made | {"token": rng.standard_normal((VOCABULARY, WIDTH)), "norm": np.ones(WIDTH)}


def test_logits_against_numpy():
    sizes = {"heads": HEADS, "key_heads": KEY_HEADS, "hidden": HIDDEN}
    model = tied(llama_blocks(VOCABULARY, LAYERS, WIDTH, **sizes))
    params = jax.tree.map(jnp.float32, from_llama2c(drawn()))
    tokens = np.array([1, 5, 2, 7, 0])
    found, _ = jax.jit(model.apply)(params, {}, tokens[None])
    np.testing.assert_allclose(
        found[0], in_numpy(drawn(), HEADS, KEY_HEADS, tokens), rtol=2e-3, atol=2e-3
    )
    shapes = jax.eval_shape(model.init, KEY, tokens[None])[0]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)


def test_rotary_scores_depend_on_the_distance_alone():
    x = jax.random.normal(KEY, (2, 1, 1, 8))
    q, k = (jnp.broadcast_to(part, (1, 9, 1, 8)) for part in x)
    score = jnp.einsum("bihd,bjhd->ij", rotated(q), rotated(k))
    for gap in range(4):
        line = jnp.diagonal(score, gap)
        np.testing.assert_allclose(line, line[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        jnp.linalg.norm(rotated(q), axis=-1), jnp.linalg.norm(q, axis=-1), 1e-5
    )


def test_stories260k_writes_what_its_equations_say():
    """The greedy text, and logits on the way, against the forward pass in numpy float64."""
    try:
        read, pieces = stories260k()
    except MissingData as absent:
        pytest.skip(str(absent))
    sizes = {"heads": read.heads, "key_heads": read.key_heads, "hidden": read.hidden}
    model = tied(llama_blocks(read.vocabulary, read.layers, read.width, **sizes))
    params = from_llama2c(read.arrays)
    prompt = jnp.array([pieces.encode("")])
    write = jax.jit(
        lambda: generate_by_rereading(model, params, {}, prompt, 40, KEY, temperature=0)
    )
    text = [*prompt[0].tolist(), *write()[0].tolist()]
    logits = in_numpy(read.arrays, read.heads, read.key_heads, np.array(text))
    np.testing.assert_array_equal(logits[:-1].argmax(-1), text[1:])
    ours, _ = jax.jit(model.apply)(params, {}, jnp.array([text]))
    np.testing.assert_allclose(ours[0], logits, atol=2e-3)
    assert pieces.decode(text).startswith("Once upon a time, there was a little girl named Lily.")


def test_wrong_sizes_are_named():
    block = llama_blocks(11, 1, 8, heads=4, key_heads=3, hidden=12)[1]
    with pytest.raises(ValueError, match="of keys have to divide them"):
        block.init(KEY, jnp.ones((1, 3, 8)))
    with pytest.raises(ValueError, match="no array 'wq'"):
        from_llama2c({"token": np.ones((2, 2))})
