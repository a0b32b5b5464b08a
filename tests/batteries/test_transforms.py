"""What every transform must do, whatever its method."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn import transforms
from tests.batteries.discover import TRANSFORMS
from tests.batteries.rooms import modules

TARGET = {
    "matrix": jnp.arange(1.0, 25.0).reshape(4, 6) / 24,
    "filter": jnp.linspace(0.5, 1.0, 72).reshape(3, 3, 2, 4),
    "bias": jnp.full(6, -0.5),
}


def loss(params):
    """A parabola around the target."""
    return sum(jnp.sum((params[k] - TARGET[k]) ** 2) for k in TARGET)


def start():
    """A dense start away from the target."""
    return jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape), TARGET
    )


def one_step(tx):
    """A compiled descent step."""
    tx = optax.with_extra_args_support(tx)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    return step


def spec(tree):
    """Shapes and dtypes of a tree."""
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.asarray(leaf).dtype), tree)


def test_every_method_offers_examples():
    public = [m for m in modules(transforms) if ".sparsity" not in m.__name__]
    assert not [m.__name__ for m in public if not hasattr(m, "examples")]


@pytest.mark.parametrize("name", TRANSFORMS)
def test_descends_compiles_once_and_keeps_its_state_in_shape(name):
    tx = TRANSFORMS[name]
    step, params = one_step(tx), start()
    state = tx.init(params)
    expected, values = spec(state), []
    for _ in range(60):
        params, state, value = step(params, state)
        values.append(float(value))
    assert step._cache_size() == 1
    assert spec(state) == expected
    np.testing.assert_allclose(params["bias"], TARGET["bias"], atol=0.1)
    assert all(np.isfinite(values))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_continues_bit_for_bit_from_any_step(name):
    tx = TRANSFORMS[name]
    step, params = one_step(tx), start()
    state, trail = tx.init(params), []
    for _ in range(12):
        trail.append((params, state))
        params, state, _ = step(params, state)
    for params_k, state_k in trail[::4]:
        k = len(trail) - next(i for i, (p, _) in enumerate(trail) if p is params_k)
        for _ in range(k):
            params_k, state_k, _ = step(params_k, jax.tree.map(jnp.array, state_k))
        jax.tree.map(np.testing.assert_array_equal, params_k, params)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_bfloat16_parameters_stay_bfloat16(name):
    tx = TRANSFORMS[name]
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), start())
    updates, _ = tx.update(params, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_works_on_a_part_of_the_tree(name):
    """Under `optax.masked` the leaves outside become placeholders."""
    tx = optax.partition(
        {"own": TRANSFORMS[name], "fixed": optax.set_to_zero()},
        {"matrix": "own", "filter": "own", "bias": "fixed"},
    )
    step, params = one_step(tx), start()
    after, state = params, tx.init(params)
    for _ in range(40):  # longer than a turn of those that train one part after the other
        after, state, _ = step(after, state)
    np.testing.assert_array_equal(after["bias"], params["bias"])
    assert not np.array_equal(after["matrix"], params["matrix"])
