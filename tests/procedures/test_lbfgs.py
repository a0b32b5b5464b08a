"""L-BFGS against SciPy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxlearn.procedures.lbfgs import lbfgs

A = np.diag([1.0, 10.0, 100.0]) + 0.5
CENTRE = np.array([1.0, -2.0, 0.5])


def valley(x):
    """Rosenbrock's function."""
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def test_finds_the_minimum_of_a_quadratic_of_any_tree():
    def quadratic(tree):
        off = jnp.concatenate([tree["a"], tree["b"][None]]) - CENTRE
        return 0.5 * off @ A @ off

    start = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    found = jax.jit(lambda start: lbfgs(quadratic, start))(start)
    np.testing.assert_allclose([*found.params["a"], found.params["b"]], CENTRE, atol=1e-3)
    assert found.iterations < 25


def test_rosenbrock_as_low_as_scipy_and_the_limit_of_iterations_holds():
    starts = jnp.array([[-1.2, 1.0], [2.0, -1.0]])
    solve = jax.jit(jax.vmap(lambda x: lbfgs(valley, x, max_iterations=100)))
    found = solve(starts)
    for start, end in zip(starts, found.params, strict=True):
        theirs = optimize.minimize(valley, np.asarray(start, np.float64), method="L-BFGS-B")
        np.testing.assert_allclose(end, theirs.x, atol=2e-2)
    assert lbfgs(valley, starts[0], max_iterations=3).iterations == 3
    with pytest.raises(ValueError, match="must be at least 1"):
        lbfgs(valley, starts[0], memory=0)
