"""A model computed in bfloat16: what is rounded, and what stays as it was."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import computing_in, from_linen, make_state, make_step, over_time, stack, trees
from jaxlearn.models.spiking_mlp import spiking_mlp_blocks
from jaxlearn.models.tiny import tiny_batch
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop, greedy

BATCH = tiny_batch()
KEY = jax.random.key(0)


class Net(linen.Module):
    """A convolution, a batch norm and a classifier."""

    @linen.compact
    def __call__(self, x, train: bool = False):
        x = linen.Conv(4, (3, 3))(x.reshape(x.shape[0], -1, 2, 2))
        x = linen.relu(linen.BatchNorm(use_running_average=not train)(x))
        return linen.Dense(3)(x.reshape(x.shape[0], -1))


def dtypes(tree) -> set[str]:
    return {
        leaf.dtype.name
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }


def spiking():
    return spiking_mlp_blocks(3, widths=(16, 16))


RULES = {
    "backprop": lambda wrap: backprop(wrap(from_linen(Net())), cross_entropy),
    "greedy": lambda wrap: greedy([wrap(b) for b in spiking()[:-1]], wrap(spiking()[-1])),
    "in time": lambda wrap: over_time(
        backprop(stack([wrap(b) for b in spiking()]), cross_entropy), T=3
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_products_run_in_bfloat16_and_all_that_lasts_is_float32(name):
    rule, tx = RULES[name](computing_in), optax.sgd(0.1, momentum=0.9)
    state = jax.jit(lambda: make_state(rule, tx, KEY, BATCH))()
    step = make_step(rule, tx)
    text = str(jax.make_jaxpr(step)(state, BATCH))
    products = re.findall(r"(\w+)\[[\d,]*\] = (?:dot_general|conv_general_dilated)", text)
    # a sequence begins as `init` leaves it: its three products are in the text, and nobody's result
    assert products.count("f32") == (3 if name == "in time" else 0)
    assert set(products) - {"f32"} == {"bf16"}
    after, metrics = jax.jit(step)(state, BATCH)
    assert dtypes((after.params, after.opt_state, after.state)) == {"float32"}
    assert metrics["loss"].dtype == jnp.float32
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert spec(after) == spec(state)


@pytest.mark.parametrize("name", RULES)
def test_in_float32_it_is_the_model_itself(name):
    tx = optax.sgd(0.1)
    ends = []
    for wrap in (lambda model: model, lambda model: computing_in(model, jnp.float32)):
        rule = RULES[name](wrap)
        state = jax.jit(lambda rule=rule: make_state(rule, tx, KEY, BATCH))()
        ends.append(jax.jit(make_step(rule, tx))(state, BATCH)[0].params)
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_gradients_are_those_of_float32_up_to_bfloat16s_rounding():
    exact, rounded = (RULES["backprop"](wrap) for wrap in (lambda m: m, computing_in))
    params, state = jax.jit(exact.init)(KEY, BATCH)
    state = trees.lasting(state)
    a, b = (jax.jit(r.signal)(params, state, BATCH, KEY)[0] for r in (exact, rounded))
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    apart = np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(a))
    assert 1e-5 < apart < 0.03  # half of the last of eight bits, several times over


def test_whole_numbers_stay_as_they_are():
    embed = computing_in(from_linen(linen.Embed(300, 4)))
    tokens = jnp.array([[257, 299]])
    params, state = embed.init(KEY, tokens)
    found = embed.apply(params, state, tokens)[0]
    np.testing.assert_allclose(found, params["embedding"][tokens], rtol=2**-8)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="floating point, found dtype=int32"):
        computing_in(from_linen(linen.Dense(3)), jnp.int32)
