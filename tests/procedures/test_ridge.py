"""Least squares in closed form against its own definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxlearn.core import axis
from jaxlearn.models.bundle import draw_tower, tower
from jaxlearn.models.layers.random_features import relu_features
from jaxlearn.procedures.ridge import accumulate, gram, solve, total

X = np.random.default_rng(0).normal(size=(40, 5))
Y = np.random.default_rng(1).normal(size=(40, 3))


def test_identity_7_normal_equations_and_streaming():
    with jax.enable_x64(True):
        maps = [relu_features(16), relu_features(12)]
        draws = jax.jit(lambda key: draw_tower(maps, key, 5))(jax.random.key(0))
        draws = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), draws)
        features = lambda x: tower(maps, draws, x)
        ridge, sums_of, solved = 0.1, jax.jit(gram), jax.jit(partial(solve, ridge=0.1))
        z = np.asarray(jax.jit(features)(X))
        omega = np.asarray(solved(sums_of(z, Y)))
        loss = lambda o: ((z @ o.T - Y) ** 2).sum() + ridge * (o**2).sum()
        assert np.abs(jax.jit(jax.grad(loss))(omega)).max() < 1e-6
        inverse = np.linalg.inv(z.T @ z + ridge * np.eye(12))
        np.testing.assert_allclose(omega, Y.T @ z @ inverse, rtol=1e-8)
        scanned = jax.jit(lambda x, y: accumulate(features, x, y, 4))(X, Y)
        read = jax.jit(total)([sums_of(z[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)])
        for sums in (scanned, read):
            np.testing.assert_allclose(solved(sums), omega, rtol=1e-9)
            assert sums.count == 40


def test_memory_of_the_sums_does_not_grow_with_the_examples():
    g = jax.random.normal(jax.random.key(0), (64, 5))
    features = lambda x: jnp.maximum(x @ g.T, 0)

    def reserved(pieces: int) -> int:
        shapes = [jax.ShapeDtypeStruct((50 * pieces, n), jnp.float32) for n in (5, 3)]
        made = jax.jit(lambda x, y: accumulate(features, x, y, pieces)).lower(*shapes).compile()
        memory = made.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert reserved(64) < reserved(2) + 1024


def test_devices_add_their_pieces():
    mesh = Mesh(np.array(jax.devices()[:1]), (axis.DATA,))
    share = jax.shard_map(gram, mesh=mesh, in_specs=P(axis.DATA), out_specs=P(), check_vma=False)
    found, whole = share(jnp.float32(X), jnp.float32(Y)), gram(jnp.float32(X), jnp.float32(Y))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, whole)


def test_wrong_requests_are_refused():
    z, y = jnp.ones((4, 2)), jnp.ones((4, 1))
    with pytest.raises(ValueError, match="ridge must be above 0"):
        solve(gram(z, y), 0.0)
    with pytest.raises(ValueError, match=r"z \[N, m\] and y"):
        gram(z, y[:3])
    with pytest.raises(ValueError, match="do not divide into 3 pieces"):
        accumulate(lambda x: x, z, y, 3)
    with pytest.raises(ValueError, match="no sums"):
        total([])
