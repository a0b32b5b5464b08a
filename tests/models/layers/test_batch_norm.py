import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import axis
from jaxlearn.models.layers.batch_norm import BatchNorm

X = 3 + 2 * jax.random.normal(jax.random.key(0), (8, 4, 4, 3))


def run(x, sync=False, train=True, state=None):
    layer = BatchNorm(sync=sync)
    variables = {"params": layer.init(jax.random.key(0), x)["params"], **(state or {})}
    return layer.apply(variables, x, train, mutable=["batch_stats"])


def test_normalises_by_the_batch_and_moves_the_running_statistics_by_a_tenth():
    y, state = run(X)
    x = np.asarray(X, np.float64)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-4)
    (stats,) = state["batch_stats"].values()
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_evaluation_uses_the_running_statistics_and_leaves_them():
    _, state = run(X)
    y, after = run(X, train=False, state=state)
    jax.tree.map(np.testing.assert_array_equal, after, state)
    (stats,) = state["batch_stats"].values()
    wanted = (X - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sync", [True, False])
def test_sync_takes_the_statistics_over_the_data_axis(sync):
    halves = X.reshape(2, 4, 4, 4, 3)
    split, _ = jax.vmap(lambda x: run(x, sync), axis_name=axis.DATA)(halves)
    whole, _ = run(X)
    same = np.allclose(split.reshape(X.shape), whole, atol=1e-4)
    assert same == sync
    np.testing.assert_allclose(jnp.mean(split, (1, 2, 3)).sum(0), 0, atol=1e-4)
