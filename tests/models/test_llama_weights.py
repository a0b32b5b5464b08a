"""Weights under their published names against the published equations, written out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.llama import llama_blocks
from jaxlearn.models.llama_weights import llama_params
from jaxlearn.models.tied import tied

WIDTH, HIDDEN, LAYERS, HEADS, KEY_HEADS, VOCABULARY, BASE, EPSILON = (
    16,
    12,
    2,
    4,
    2,
    11,
    500.0,
    1e-3,
)


def published(head=True):
    """Arrays by their names on Hugging Face, at random."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    keys = WIDTH // HEADS * KEY_HEADS
    shapes = {"q": (WIDTH, WIDTH), "k": (keys, WIDTH), "v": (keys, WIDTH), "o": (WIDTH, WIDTH)}
    made = {"model.embed_tokens.weight": draw(VOCABULARY, WIDTH), "model.norm.weight": draw(WIDTH)}
    for i in range(LAYERS):
        name = f"model.layers.{i}."
        made |= {f"{name}self_attn.{n}_proj.weight": draw(*shape) for n, shape in shapes.items()}
        made |= {f"{name}mlp.{n}_proj.weight": draw(HIDDEN, WIDTH) for n in ("gate", "up")}
        made[f"{name}mlp.down_proj.weight"] = draw(WIDTH, HIDDEN)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            made[f"{name}{norm}.weight"] = draw(WIDTH)
    return made | ({"lm_head.weight": draw(VOCABULARY, WIDTH)} if head else {})


def in_numpy(arrays, tokens):
    """The logits in float64: halves of a head turn together, `x cos + (-x_2, x_1) sin`."""
    w = {name.removesuffix(".weight"): np.float64(array) for name, array in arrays.items()}
    d, time = WIDTH // HEADS, len(tokens)
    norm = lambda x, scale: x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * scale
    angle = np.arange(time)[:, None] / BASE ** (np.arange(0, d, 2) / d)
    angle = np.concatenate([angle, angle], 1)[:, None]

    def turn(x):
        first, second = np.split(x, 2, -1)
        return x * np.cos(angle) + np.concatenate([-second, first], -1) * np.sin(angle)

    x = w["model.embed_tokens"][tokens]
    for i in range(LAYERS):
        get = lambda name, i=i: w[f"model.layers.{i}.{name}"]
        y = norm(x, get("input_layernorm"))
        split = lambda name, count, y=y, get=get: (y @ get(name).T).reshape(time, count, d)
        q = turn(split("self_attn.q_proj", HEADS))
        k, v = turn(split("self_attn.k_proj", KEY_HEADS)), split("self_attn.v_proj", KEY_HEADS)
        k, v = (np.repeat(part, HEADS // KEY_HEADS, 1) for part in (k, v))
        score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        score[:, *np.triu_indices(time, 1)] = -np.inf
        weight = np.exp(score - score.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", weight, v).reshape(time, -1)
        x = x + mixed @ get("self_attn.o_proj").T
        y = norm(x, get("post_attention_layernorm"))
        gate, up = y @ get("mlp.gate_proj").T, y @ get("mlp.up_proj").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ get("mlp.down_proj").T
    head = w.get("lm_head", w["model.embed_tokens"])
    return norm(x, w["model.norm"]) @ head.T


@pytest.mark.parametrize("head", [True, False])
def test_logits_against_the_published_equations(head):
    sizes = {"heads": HEADS, "key_heads": KEY_HEADS, "hidden": HIDDEN}
    blocks = llama_blocks(VOCABULARY, LAYERS, WIDTH, **sizes, base=BASE, epsilon=EPSILON)
    model = (stack if head else tied)(blocks)
    arrays, tokens = published(head), np.array([1, 5, 2, 7, 0, 10])
    params = llama_params(arrays, LAYERS, heads=HEADS, key_heads=KEY_HEADS)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens[None])[0]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    with jax.default_matmul_precision("highest"):
        found, _ = jax.jit(model.apply)(jax.tree.map(jnp.float32, params), {}, tokens[None])
    wanted = in_numpy(arrays, tokens)
    np.testing.assert_allclose(found[0], wanted, atol=1e-4 * np.abs(wanted).max())


def test_another_order_of_the_rows_is_another_network():
    """What the test above would not see if scores had no positions."""
    arrays, tokens = published(), np.array([1, 5, 2, 7])
    before = in_numpy(arrays, tokens)
    name = "model.layers.0.self_attn.q_proj.weight"
    mixed = arrays | {
        name: arrays[name].reshape(HEADS, 2, -1, WIDTH).swapaxes(1, 2).reshape(16, 16)
    }
    assert np.abs(in_numpy(mixed, tokens) - before).max() > 1e-2


def test_missing_and_superfluous_arrays_are_named():
    arrays = published()
    with pytest.raises(ValueError, match=r"no array 'model.layers.2.self_attn.q_proj.weight'"):
        llama_params(arrays, 3, heads=HEADS, key_heads=KEY_HEADS)
    with pytest.raises(ValueError, match="more than 1 layers"):
        llama_params(arrays, 1, heads=HEADS, key_heads=KEY_HEADS)
