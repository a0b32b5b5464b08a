"""OPT against its equations in numpy, and its published arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.opt import opt_blocks, opt_params
from jaxlearn.models.tied import tied, untied

D, F, V, LAYERS, HEADS, LONGEST = 8, 12, 11, 2, 2, 6
TOKENS = np.array([[1, 5, 2, 7], [3, 3, 0, 10]])
MODEL = tied(opt_blocks(V, LAYERS, D, longest=LONGEST, heads=HEADS, hidden=F))


def published():
    """Arrays with the names and shapes of a published model."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape)
    made = {"embed_tokens.weight": draw(V, D), "embed_positions.weight": draw(LONGEST + 2, D)}
    made |= {"final_layer_norm.weight": draw(D), "final_layer_norm.bias": draw(D)}
    for i in range(LAYERS):
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            made |= {f"layers.{i}.{norm}.{part}": draw(D) for part in ("weight", "bias")}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            made[f"layers.{i}.self_attn.{name}.weight"] = draw(D, D)
            made[f"layers.{i}.self_attn.{name}.bias"] = draw(D)
        for name, shape in {"fc1": (F, D), "fc2": (D, F)}.items():
            made[f"layers.{i}.{name}.weight"] = draw(*shape)
            made[f"layers.{i}.{name}.bias"] = draw(shape[0])
    return {f"model.decoder.{name}": array for name, array in made.items()}


ARRAYS = published()


def in_numpy(tokens):
    """The logits by the equations, float64, weights `[outputs, inputs]`."""
    get = lambda name: ARRAYS[f"model.decoder.{name}"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * get(f"{name}.weight") + get(f"{name}.bias")

    linear = lambda x, name: x @ get(f"{name}.weight").T + get(f"{name}.bias")
    x = get("embed_tokens.weight")[tokens] + get("embed_positions.weight")[2 : 2 + len(tokens)]
    for i in range(LAYERS):
        y = norm(x, f"layers.{i}.self_attn_layer_norm")
        q, k, v = (
            linear(y, f"layers.{i}.self_attn.{n}_proj").reshape(-1, HEADS, D // HEADS)
            for n in "qkv"
        )
        score = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(D // HEADS)
        score[:, *np.triu_indices(len(tokens), 1)] = -np.inf
        weight = np.exp(score - score.max(-1, keepdims=True))
        weight /= weight.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", weight, v).reshape(-1, D)
        x = x + linear(mixed, f"layers.{i}.self_attn.out_proj")
        y = norm(x, f"layers.{i}.final_layer_norm")
        x = x + linear(np.maximum(linear(y, f"layers.{i}.fc1"), 0), f"layers.{i}.fc2")
    return norm(x, "final_layer_norm") @ get("embed_tokens.weight").T


def test_logits_of_the_published_arrays_against_numpy():
    params = jax.tree.map(jnp.float32, opt_params(ARRAYS, LAYERS))
    found, _ = jax.jit(MODEL.apply)(params, {}, jnp.asarray(TOKENS))
    np.testing.assert_allclose(found, [in_numpy(row) for row in TOKENS], rtol=1e-3, atol=1e-3)
    shapes = jax.eval_shape(MODEL.init, jax.random.key(0), jnp.asarray(TOKENS))[0]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)


def test_an_untied_head_is_a_copy_that_computes_the_same():
    params = jax.tree.map(jnp.float32, opt_params(ARRAYS, LAYERS))
    whole = stack(opt_blocks(V, LAYERS, D, longest=LONGEST, heads=HEADS, hidden=F))
    again, _ = whole.apply(untied(params), {}, TOKENS)
    np.testing.assert_array_equal(again, MODEL.apply(params, {}, TOKENS)[0])
    assert "head" not in params["3"]


def test_the_size_of_opt_2_7b():
    first, block, last = opt_blocks(50272, 1, 2560, longest=2048, heads=32)
    x = jax.ShapeDtypeStruct((1, 4, 2560), jnp.float32)
    size = lambda model, x: sum(
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), x)[0])
    )
    ends = size(first, jnp.asarray(TOKENS)) + size(last, x) - 50272 * 2560  # the head is tied
    assert ends + 32 * size(block, x) == 2_651_596_800


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="7 tokens, but there are 6 places"):
        MODEL.init(jax.random.key(0), jnp.zeros((1, 7), int))
    with pytest.raises(ValueError, match=r"no array 'decoder.layers.2.self_attn.q_proj.weight'"):
        opt_params(ARRAYS, 3)
