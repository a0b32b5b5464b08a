"""Graphs, inputs and a float64 oracle of the sparse product for the tests of this folder."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies
from jaxlearn_kernels.spmm import Epilogue, Sparse, from_coordinates, spmm

from .residual import residual

ROWS, COLUMNS, ENTRIES, WIDTH = 150, 20, 320, 12
"""One static size for all random graphs, so that they share their compilations."""

FULL = Epilogue(relu=True, normalize=True, squared_norm=True, eps=0.3)
"""All options; with this eps, rows with next to no length do not amplify the rounding."""

IMPLEMENTATIONS = (None, "reference", "interpret", "interpret_gpu")


COMPILED = jax.jit(from_coordinates, static_argnums=3)


class Entries(NamedTuple):
    """Real entries in any order, in numpy."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


@strategies.composite
def graphs(draw) -> Entries:
    """Few or many entries: spread, on one hub, or all at few places; empty rows and columns."""
    rng = np.random.default_rng(draw(strategies.integers(0, 2**32 - 1)))
    count = draw(strategies.sampled_from([0, 1, 7, 130, 256, ENTRIES]))
    used = draw(strategies.sampled_from([1, 3, ROWS]))
    rows = rng.permutation(ROWS)[rng.integers(0, used, count)]
    hub = rng.random(count) < draw(strategies.sampled_from([0.0, 0.7]))
    rows = np.where(hub, rng.integers(0, ROWS), rows)
    columns = rng.permutation(COLUMNS)[
        rng.integers(0, draw(strategies.integers(1, COLUMNS)), count)
    ]
    return Entries(rows, columns, rng.normal(size=count))


def dense(entries: Entries, shape: tuple[int, int]) -> np.ndarray:
    """The matrix in float64; entries at one place add up."""
    matrix = np.zeros(shape)
    np.add.at(matrix, (entries.rows, entries.columns), entries.values)
    return matrix


def padded(entries: Entries, shape: tuple[int, int], size: int, dtype=jnp.float32) -> Sparse:
    """The same matrix with entries of no row, to a static size."""
    free = size - len(entries.rows)
    rows = jnp.asarray(np.append(entries.rows, np.full(free, shape[0])), jnp.int32)
    columns = jnp.asarray(np.append(entries.columns, np.zeros(free)), jnp.int32)
    values = jnp.asarray(np.append(entries.values, np.ones(free)), dtype)
    return COMPILED(rows, columns, values, shape)


def inputs(shape: tuple[int, int], width: int, dtype=jnp.float32, seed: int = 0) -> tuple:
    """x, scale, bias and the cotangents of y and of the squared norms."""
    rng = np.random.default_rng(seed)
    n, m = shape
    wide = jnp.promote_types(dtype, jnp.float32)
    draws = [
        ((m, width), dtype),
        ((n,), wide),
        ((width,), dtype),
        ((n, width), dtype),
        ((n,), wide),
    ]
    return tuple(jnp.asarray(rng.normal(size=size), kind) for size, kind in draws)


def oracle(matrix: np.ndarray, x, scale, bias, gy, gs, options: Epilogue):
    """y, squares, and the gradients of the dense matrix, x, scale and bias, in float64.

    Backward row by row through the Jacobian of the normalisation, ``I / (r + eps) - h h^T / (r (r +
    eps)^2)``, written out as a matrix.
    """
    x, scale, bias, gy, gs = (np.asarray(a, np.float64) for a in (x, scale, bias, gy, gs))
    product = matrix @ x
    h = product * scale[:, None] + bias
    if options.relu:
        h = np.maximum(h, 0)
    squares = (h**2).sum(1)
    y, gz = h.copy(), np.zeros_like(h)
    for i, row in enumerate(h):
        jacobian, r = np.eye(len(row)), np.sqrt(squares[i])
        if options.normalize:
            y[i] = row / (r + options.eps)
            jacobian = jacobian / (r + options.eps)
            if r > 0:
                jacobian -= np.outer(row, row) / (r * (r + options.eps) ** 2)
        gz[i] = jacobian.T @ gy[i]
        if options.squared_norm:
            gz[i] += 2 * gs[i] * row
        if options.relu:
            gz[i] *= row > 0
    g_scale = (gz * product).sum(1)
    scaled = gz * scale[:, None]
    return y, squares, scaled @ x.T, matrix.T @ scaled, g_scale, gz.sum(0)


@functools.cache
def run(implementation, options: Epilogue):
    """Compiled: y, squares (or zeros), gradients of values, x, scale, bias."""

    @jax.jit
    def both(matrix, x, scale, bias, gy, gs):
        def f(values, x, scale, bias):
            found = spmm(
                matrix._replace(values=values),
                x,
                epilogue=options,
                scale=scale,
                bias=bias,
                implementation=implementation,
            )
            return found if options.squared_norm else (found, jnp.zeros(len(gs), gs.dtype))

        outputs, pull = jax.vjp(f, matrix.values, x, scale, bias)
        return (*outputs, *pull((gy, gs)))

    return both


def by_place(matrix: Sparse, gradient: jax.Array) -> tuple[np.ndarray, tuple]:
    """Gradients of the real entries in float64, and their places in the dense matrix."""
    real = np.asarray(matrix.pattern.rows) < matrix.shape[0]
    places = np.asarray(matrix.pattern.rows)[real], np.asarray(matrix.pattern.indices)[real]
    return np.asarray(gradient, np.float64)[real], places


def agree(found, expected, tolerance: float, message: str = "") -> None:
    """Every pair equal up to a share of the largest expected value (at least 1)."""
    names = ("y", "squares", "g_values", "g_x", "g_scale", "g_bias")
    for name, a, b in zip(names, found, expected, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        atol = tolerance * max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(a, b, atol=atol, err_msg=f"{name} {message}")
        assert residual(a, b) <= atol, f"{name} {message}"


def against_oracle(entries, implementation, options, tolerance, dtype=jnp.float32, seed=0) -> None:
    """One graph of the static size through an implementation and through the oracle."""
    shape = (ROWS, COLUMNS)
    wide = jnp.promote_types(dtype, jnp.float32)
    matrix = padded(entries, shape, ENTRIES, wide)
    given = inputs(shape, WIDTH, dtype, seed)
    found = list(run(implementation, options)(matrix, *given))
    assert found[0].dtype == found[3].dtype == dtype
    x, scale, bias, gy, gs = given
    expected = list(oracle(dense(entries, shape), x, scale, bias, gy, gs, options))
    if not options.squared_norm:
        expected[1] = np.zeros(ROWS)
    found[2], places = by_place(matrix, found[2])
    expected[2] = expected[2][places]
    agree(found, expected, tolerance, str(implementation))
