"""Layers of quadratic neurons and their exact values, for the tests of this folder."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxlearn_kernels.quadratic import Branch, quadratic

from .residual import residual

FORMS = {"full": "rgb", "compact": "rb", "product": "rg"}


def drawn(shape, form: str, dtype, seed: int = 0):
    """x, the branches of a form by name, and a cotangent of y."""
    rng = np.random.default_rng(seed)
    array = lambda *size: jnp.asarray(rng.normal(size=size), dtype)
    n, m = shape.inputs, shape.outputs
    branches = {
        k: Branch(jnp.asarray(rng.normal(size=(n, m)) / n**0.5, dtype), array(m))
        for k in FORMS[form]
    }
    return array(shape.rows, n), branches, array(shape.rows, m)


def exact(x, branches, dy):
    """y and the cotangents of x and of the branches, in float64 with numpy."""
    x, dy = (np.asarray(a, np.float64) for a in (x, dy))
    w = {k: [np.asarray(a, np.float64) for a in pair] for k, pair in branches.items()}
    one, none = np.ones_like(dy), np.zeros_like(dy)
    r = x @ w["r"][0] + w["r"][1]
    g = x @ w["g"][0] + w["g"][1] if "g" in w else one
    q = x**2 @ w["b"][0] + w["b"][1] if "b" in w else none
    left = {"r": (x, dy * g), "g": (x, dy * r), "b": (x**2, dy)}
    to_branches = {k: [a.T @ d, d.sum(0)] for k, (a, d) in left.items() if k in w}
    to_x = sum(left[k][1] @ w[k][0].T for k in "rg" if k in w)
    to_x = to_x + 2 * x * (dy @ w["b"][0].T) if "b" in w else to_x
    return r * g + q, to_x, to_branches


def run(implementation, x, branches, dy, *, recompute: bool = False):
    """The same from the operation."""

    @jax.jit
    def both(x, branches, dy):
        f = lambda x, branches: quadratic(
            x, **branches, recompute=recompute, implementation=implementation
        )
        y, pull = jax.vjp(f, x, branches)
        return y, *pull(dy)

    found = both(x, branches, dy)
    assert jax.tree.all(jax.tree.map(lambda leaf: leaf.dtype == x.dtype, found))
    return found


def furthest(found, expected) -> float:
    """The residual over the largest expected number, worst leaf."""

    def of_leaf(a, b):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        return residual(a, b) / np.abs(b).max()

    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(of_leaf(a, b) for a, b in leaves)
