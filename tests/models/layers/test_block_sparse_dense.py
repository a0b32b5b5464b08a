"""The layer equals a dense one with the same weights, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.models.layers.block_sparse_dense import BlockSparseDense


@pytest.fixture(scope="module")
def drawn():
    draw = np.random.default_rng(0)
    x, kernel = (draw.normal(size=size).astype(np.float32) for size in ((5, 3, 8), (8, 12)))
    kernel[:4, 3:9] = kernel[4:, :3] = 0
    kernel[5, 4] = 0  # a single zero does not empty its block
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.arange(12.0)}
    return jnp.asarray(x), {"params": params}


def gradients(layer, x, variables):
    f = lambda x, v: jnp.sum(jnp.sin(layer.apply(v, x)))
    return jax.jit(jax.grad(f, argnums=(0, 1)))(x, variables)


def test_equals_dense(drawn):
    x, variables = drawn
    sparse, dense = BlockSparseDense(12, (4, 3)), linen.Dense(12)
    np.testing.assert_allclose(
        jax.jit(sparse.apply)(variables, x),
        jax.jit(dense.apply)(variables, x),
        rtol=1e-5,
        atol=1e-6,
    )
    (to_x, to_w), (dense_x, dense_w) = (gradients(m, x, variables) for m in (sparse, dense))
    np.testing.assert_allclose(to_x, dense_x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        to_w["params"]["bias"], dense_w["params"]["bias"], rtol=1e-5, atol=1e-6
    )
    expected = np.array(dense_w["params"]["kernel"])
    expected[:4, 3:9] = expected[4:, :3] = 0
    np.testing.assert_allclose(to_w["params"]["kernel"], expected, rtol=1e-5, atol=1e-6)
    assert to_w["params"]["kernel"][5, 4] != 0


def test_empty_blocks_stay_empty_through_training(drawn):
    x, variables = drawn
    layer, tx = BlockSparseDense(12, (4, 3)), optax.adam(0.1)
    state = tx.init(variables)
    for _ in range(3):
        updates, state = tx.update(gradients(layer, x, variables)[1], state)
        variables = optax.apply_updates(variables, updates)
    kernel = np.asarray(variables["params"]["kernel"])
    assert not kernel[:4, 3:9].any()
    assert not kernel[4:, :3].any()
    assert kernel[4:, 3:].all()


def test_blocks_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"blocks of \(3, 4\) do not divide a mask of \(8, 12\)"):
        BlockSparseDense(12, (3, 4)).init(jax.random.key(0), jnp.ones((1, 8)))
