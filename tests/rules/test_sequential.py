import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import from_linen, make_state, make_step
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.local_learning import LocalModule, local_learning
from jaxlearn.rules.sequential import sequential_state, sequential_step

KEY = jax.random.key(0)
TX = optax.sgd(0.1, momentum=0.9)


class Noisy(linen.Module):
    """`dropout(relu(BN(x W)))`: keys and statistics matter."""

    @linen.compact
    def __call__(self, x, train: bool = False):
        x = linen.relu(BatchNorm()(linen.Dense(6)(x), train))
        return linen.Dropout(0.2)(x, deterministic=not train)


BLOCK, HEAD = from_linen(Noisy()), from_linen(linen.Dense(3))
MODULES = [LocalModule(BLOCK, cross_entropy, HEAD)] * 3
BATCH = {
    "inputs": jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)), jnp.float32),
    "labels": jnp.arange(8) % 3,
    "index": jnp.arange(8),
}


@pytest.fixture(scope="module")
def runs():
    """Three steps: all modules at once, one after the other, and with the new weights' output."""
    start = jax.jit(lambda: make_state(local_learning(MODULES), TX, KEY, BATCH))()
    own = jax.jit(lambda: sequential_state(MODULES, TX, KEY, BATCH))()
    steps = {
        "at once": (start, make_step(local_learning(MODULES), TX)),
        "sequential": (own, sequential_step(MODULES, TX)),
        "refreshed": (own, sequential_step(MODULES, TX, refresh=True)),
    }
    found = {}
    for name, (state, step) in steps.items():
        step = jax.jit(step)
        for _ in range(3):
            state, metrics = step(state, BATCH)
        found[name] = state, metrics
    return found


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


@pytest.mark.slow
def test_without_refresh_the_values_are_those_of_one_step_for_all(runs):
    (expected, metrics), (found, own) = runs["at once"], runs["sequential"]
    close(found.params, expected.params)
    close(found.state, expected.state)
    close(own, metrics)
    assert int(found.step) == 3


def test_with_refresh_the_next_module_sees_the_new_weights(runs):
    (plain, _), (fresh, _) = runs["sequential"], runs["refreshed"]
    close(fresh.params["0"], plain.params["0"])
    kernels = (s.params["1"]["Dense_0"]["kernel"] for s in (plain, fresh))
    assert float(jnp.abs(next(kernels) - next(kernels)).max()) > 1e-4


def test_one_refreshed_step_by_hand():
    clean = from_linen(Plain())
    modules = [LocalModule(clean, cross_entropy, HEAD)] * 2
    state = jax.jit(lambda: sequential_state(modules, optax.sgd(1.0), KEY, BATCH))()
    after, _ = jax.jit(sequential_step(modules, optax.sgd(1.0), refresh=True))(state, BATCH)

    def loss(own, h):
        y, _ = clean.apply(own[0], {}, h)
        return cross_entropy(HEAD.apply(own[1], {}, y)[0], BATCH)[0]

    @jax.jit
    def by_hand(own, h):
        new = jax.tree.map(lambda p, g: p - g, own, jax.grad(loss)(own, h))
        return new, clean.apply(new[0], {}, h)[0]

    h = BATCH["inputs"]
    for name in ("0", "1"):
        new, h = by_hand((state.params[name], state.params["heads"][name]), h)
        close((after.params[name], after.params["heads"][name]), new)


class Plain(linen.Module):
    """`tanh(x W)`."""

    @linen.compact
    def __call__(self, x):
        return jnp.tanh(linen.Dense(6)(x))
