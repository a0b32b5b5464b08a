import jax
import numpy as np

from jaxlearn.core import stack
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.greedy import greedy
from tests.compiled import compiled

KEY = jax.random.key(0)


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_each_layer_and_its_head_learn_like_a_shallow_network():
    blocks, head, batch = tiny_blocks(), tiny_head(), tiny_batch()
    rule = compiled(greedy(blocks, head))
    params, state = rule.init(KEY, batch)
    grads, _, metrics = rule.signal(params, state, batch, KEY)
    shallow = compiled(backprop(stack([blocks[0], head]), cross_entropy))
    own = {"0": params["0"], "1": params["heads"]["0"]}
    expected, _, found = shallow.signal(own, {}, batch, KEY)
    same([grads["0"], grads["heads"]["0"]], [expected["0"], expected["1"]])
    hidden, _ = jax.jit(blocks[0].apply)(params["0"], {}, batch["inputs"])
    top = compiled(backprop(stack([blocks[1], head]), cross_entropy))
    above, _, last = top.signal(params["1"], {}, batch | {"inputs": hidden}, KEY)
    same(grads["1"], above)
    np.testing.assert_allclose(metrics["loss"], found["loss"] + last["loss"], rtol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], last["accuracy"])


def test_one_layer_is_backprop():
    block, batch = tiny_blocks()[0], tiny_batch()
    rule = compiled(greedy([block], tiny_head()))
    params, state = rule.init(KEY, batch)
    plain = compiled(backprop(stack([block, tiny_head()]), cross_entropy))
    same(
        rule.signal(params, state, batch, KEY)[0]["0"],
        plain.signal(params["0"], state, batch, KEY)[0],
    )


def test_another_head_takes_the_place_of_the_linear_one():
    head = stack([tiny_blocks()[0], tiny_head()])
    rule = greedy(tiny_blocks(), tiny_head(), head=head)
    params, _ = jax.eval_shape(rule.init, KEY, tiny_batch())
    assert sorted(params["heads"]["0"]) == ["0", "1"]
