"""Block-sparse layers and their exact values, for the tests of this folder."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.block_sparse import block_sparse_matmul

from .residual import residual


def drawn(shape, dtype, seed: int = 0, density: float = 0.4):
    """x, w, a mask of blocks, and a cotangent of y."""
    rng = np.random.default_rng(seed)
    n, m = shape.high * shape.block[0], shape.wide * shape.block[1]
    array = lambda *size: jnp.asarray(rng.normal(size=size) / n**0.5, dtype)
    mask = jnp.asarray(rng.random((shape.high, shape.wide)) < density)
    return array(shape.rows, n), array(n, m), mask, array(shape.rows, m)


def exact(x, w, mask, dy):
    """y and the cotangents of x and w, in float64 with numpy, block by block."""
    x, w, dy = (np.asarray(a, np.float64) for a in (x, w, dy))
    high, wide = w.shape[0] // mask.shape[0], w.shape[1] // mask.shape[1]
    kept = np.kron(np.asarray(mask), np.ones((high, wide)))
    return x @ (kept * w), dy @ (kept * w).T, kept * (x.T @ dy)


def run(implementation, x, w, mask, dy):
    """The same from the operation."""

    @jax.jit
    def both(x, w, mask, dy):
        f = lambda x, w: block_sparse_matmul(x, w, mask, implementation=implementation)
        y, pull = jax.vjp(f, x, w)
        return y, *pull(dy)

    found = both(x, w, mask, dy)
    assert all(leaf.dtype == x.dtype for leaf in found)
    return found


def furthest(found, expected) -> float:
    """The residual over the largest expected number, worst array."""
    pairs = [(np.asarray(a, np.float64), b) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(residual(a, b) / max(np.abs(b).max(), 1e-3) for a, b in pairs)
