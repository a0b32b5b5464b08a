import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.heads.predsim import PooledClassifier, pool_window, predsim_head


@pytest.mark.parametrize(("side", "width", "window"), [
    (32, 16, (8, 4)), (16, 32, (4, 4)), (8, 64, (4, 2)), (8, 8, (1, 1)), (2, 4096, (2, 2)),
])  # fmt: skip
def test_windows_double_in_turn_until_the_map_is_small(side, width, window):
    assert pool_window(side, width) == window


def test_heads_have_the_published_sizes():
    head = predsim_head(10)
    x = jax.ShapeDtypeStruct((2, 32, 32, 16), jnp.float32)
    (params, state), out = jax.eval_shape(
        lambda key, x: (head.init(key, x), head.apply(*head.init(key, x), x)[0]), KEY, x
    )
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(own)) for name, own in params.items()}
    assert sizes == {"similarity": 9 * 16 * 16, "logits": 512 * 10 + 10}
    assert out["similarity"].shape == (2, 32, 32, 16)
    assert out["logits"].shape == (2, 10)
    assert state == {}


KEY = jax.random.key(0)


def test_the_pooled_map_is_a_mean_over_windows():
    x = jax.random.normal(KEY, (3, 8, 8, 4))
    head = PooledClassifier(5, features=4 * 2 * 4)
    variables = head.init(KEY, x)
    assert pool_window(8, 4, 32) == (4, 2)
    means = np.asarray(x).reshape(3, 2, 4, 4, 2, 4).mean((2, 4)).reshape(3, -1)
    dense = variables["params"]["Dense_0"]
    np.testing.assert_allclose(
        head.apply(variables, x), means @ dense["kernel"] + dense["bias"], atol=1e-5
    )


def test_a_window_that_does_not_divide_is_padded_with_counted_zeros():
    x = jnp.ones((1, 3, 3, 8))
    head = PooledClassifier(2, features=32)
    variables = head.init(KEY, x)
    assert pool_window(3, 8, 32) == (2, 2)
    # windows of two start one before the map's first row and column
    pooled = np.repeat(np.array([[0.25, 0.5], [0.5, 1.0]]).reshape(-1), 8)
    dense = variables["params"]["Dense_0"]
    np.testing.assert_allclose(
        head.apply(variables, x)[0], pooled @ dense["kernel"] + dense["bias"], atol=1e-6
    )
