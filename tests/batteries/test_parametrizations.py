"""What every parametrization must do, whatever its method."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn import parametrizations
from jaxlearn.models.tiny import FEATURES, tiny_stack
from tests.batteries.discover import PARAMETRIZATIONS
from tests.batteries.rooms import modules
from tests.drawn import variables

PARAMS, _ = variables(tiny_stack(), jax.ShapeDtypeStruct((32, FEATURES), "float32"))


def test_every_method_offers_examples():
    assert not [m.__name__ for m in modules(parametrizations) if not hasattr(m, "examples")]


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_materializes_the_structure_it_was_given(name):
    made = PARAMETRIZATIONS[name]
    theta, frozen = made.init(jax.random.key(1), PARAMS)
    params = jax.jit(made.materialize)(theta, frozen)
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert spec(params) == spec(PARAMS)
    jax.tree.map(np.testing.assert_array_equal, params, PARAMS)


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_reaches_nearer_to_a_target_it_can_reach(name):
    """Descent on a parabola around what a changed theta gives."""
    made = PARAMETRIZATIONS[name]
    theta, frozen = made.init(jax.random.key(1), PARAMS)
    keys = iter(jax.random.split(jax.random.key(2), 99))
    moved = jax.tree.map(lambda t: t + 0.1 * jax.random.normal(next(keys), t.shape), theta)
    target = made.materialize(moved, frozen)

    @jax.jit
    def loss(theta):
        params = made.materialize(theta, frozen)
        return sum(
            map(jnp.sum, jax.tree.leaves(jax.tree.map(lambda a, b: (a - b) ** 2, params, target)))
        )

    first, slope = loss(theta), jax.jit(jax.grad(loss))
    for _ in range(50):
        theta = jax.tree.map(lambda t, g: t - 0.1 * g, theta, slope(theta))
    assert loss(theta) < 0.5 * first
