import jax
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.layers.checkpointed import checkpointed
from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.backprop import backprop


@pytest.mark.slow
def test_gradients_are_those_of_backprop_and_activations_are_recomputed():
    blocks, batch = tiny_blocks(), tiny_batch()
    plain = backprop(stack([*blocks, tiny_head()]), cross_entropy)
    lean = backprop(stack([*map(checkpointed, blocks), tiny_head()]), cross_entropy)
    params, state = plain.init(jax.random.key(0), batch)
    expected, found = (
        rule.signal(params, state, batch, jax.random.key(1)) for rule in (plain, lean)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert abs(np.mean(a - b)) < 1e-7

    def products(rule):
        jaxpr = jax.make_jaxpr(rule.signal)(params, state, batch, jax.random.key(1))
        return str(jaxpr).count("dot_general")

    assert products(lean) > products(plain)
