"""The sparse product and its gradients against dense float64 algebra, on random graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jaxlearn_kernels.spmm import (
    Epilogue,
    from_coordinates,
    of_rows,
    softmax_rows,
    spmm,
    sum_rows,
)

from . import spmm_cases as cases

SINGLE = jax.jit(from_coordinates, static_argnums=3)
FEW = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@FEW
@given(cases.graphs())
def test_every_implementation_is_the_dense_formula(entries):
    """All options at once. Rows near the corner of the ReLU would differ: none is drawn."""
    for implementation in cases.IMPLEMENTATIONS:
        cases.against_oracle(entries, implementation, cases.FULL, 3e-4)


@FEW
@given(cases.graphs())
def test_bfloat16_is_the_dense_formula_up_to_its_rounding(entries):
    """Without the ReLU, whose corner a rounded sum may cross."""
    options = Epilogue(squared_norm=True)
    for implementation in (None, "interpret_gpu"):
        cases.against_oracle(entries, implementation, options, 3e-2, jnp.bfloat16)


@pytest.mark.parametrize("implementation", [None, "reference"])
def test_float64_is_exact_to_its_rounding(implementation):
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, cases.ROWS, 300), rng.integers(0, cases.COLUMNS, 300)]
    with jax.enable_x64(True):
        options = Epilogue(normalize=True, squared_norm=True)
        entries = cases.Entries(*draws, rng.normal(size=300))
        cases.against_oracle(entries, implementation, options, 1e-11, jnp.float64)


@settings(FEW, max_examples=10)
@given(cases.graphs())
def test_two_runs_give_the_same_bits_and_padding_changes_none(entries):
    shape = (cases.ROWS, cases.COLUMNS)
    given_ = cases.inputs(shape, cases.WIDTH)
    for implementation in (None, "interpret_gpu"):
        run = cases.run(implementation, cases.FULL)
        matrix = cases.padded(entries, shape, cases.ENTRIES)
        first, second = run(matrix, *given_), run(matrix, *given_)
        # other values in the entries of no row
        real = matrix.pattern.rows < cases.ROWS
        other = matrix._replace(values=jnp.where(real, matrix.values, 7.0))
        third = run(other, *given_)
        for a, b, c in zip(first, second, third, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


@settings(FEW, max_examples=10)
@given(cases.graphs())
def test_coordinates_come_back_as_the_matrix_and_its_transpose(entries):
    shape = (cases.ROWS, cases.COLUMNS)
    matrix = cases.padded(entries, shape, cases.ENTRIES)
    count, want = len(entries.rows), cases.dense(entries, shape)
    for pattern, values, dense in (
        (matrix.pattern, matrix.values, want),
        (matrix.transposed, matrix.values[matrix.order], want.T),
    ):
        rows = np.repeat(np.arange(len(dense)), np.diff(pattern.indptr))
        np.testing.assert_array_equal(pattern.rows[:count], rows)
        np.testing.assert_array_equal(pattern.rows[count:], len(dense))
        found = cases.Entries(rows, np.asarray(pattern.indices)[:count], np.asarray(values)[:count])
        np.testing.assert_allclose(cases.dense(found, dense.shape), dense, atol=1e-5)
        np.testing.assert_array_equal(values[count:], 0)


def test_rows_of_entries_and_back():
    matrix = from_coordinates(jnp.array([2, 0, 2, 3]), jnp.array([0, 1, 1, 0]), jnp.ones(4), (3, 2))
    assert of_rows(matrix.pattern, jnp.array([5.0, 6.0, 7.0]), padding=9).tolist() == [5, 7, 7, 9]
    assert sum_rows(matrix.pattern, jnp.array([1.0, 2.0, 4.0, 8.0])).tolist() == [1, 0, 6]
    assert softmax_rows(matrix.pattern, jnp.array([3.0, 1.0, 1.0, 50.0])).tolist() == [
        1,
        0.5,
        0.5,
        0,
    ]


def test_attention_learns_through_its_values():
    """Softmax over neighbours, then the product: the gradient against central differences."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        matrix = SINGLE(jnp.array([0, 0, 0, 2, 2]), jnp.array([0, 1, 1, 2, 0]), jnp.ones(5), (3, 3))
        x, scores = jnp.asarray(rng.normal(size=(3, 2))), jnp.asarray(rng.normal(size=5))

        @jax.jit
        def loss(scores):
            weights = softmax_rows(matrix.pattern, scores)
            return jnp.sum(jnp.sin(spmm(matrix._replace(values=weights), x)))

        steps = 1e-5 * np.eye(5)
        numeric = [(loss(scores + h) - loss(scores - h)) / 2e-5 for h in steps]
        np.testing.assert_allclose(jax.grad(loss)(scores), numeric, atol=1e-8)


def test_rows_of_zeros_have_finite_gradients():
    """An isolated node has no length to divide by; behind a ReLU nothing flows there."""
    matrix = SINGLE(jnp.array([1]), jnp.array([0]), jnp.ones(1), (2, 2))
    options = Epilogue(relu=True, normalize=True)

    @jax.jit
    def both(x):
        call = lambda name: (
            lambda x: jnp.sum(spmm(matrix, x, epilogue=options, implementation=name) ** 2)
        )
        return [jax.grad(call(name))(x) for name in (None, "reference")]

    for gradient in both(jnp.array([[3.0, 4.0], [1.0, 1.0]])):
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_goodness_is_the_squared_norm_before_the_normalisation():
    matrix = SINGLE(jnp.array([0]), jnp.array([0]), jnp.ones(1), (1, 1))
    options = Epilogue(normalize=True, squared_norm=True)
    y, squares = spmm(matrix, jnp.array([[3.0, -4.0]]), epilogue=options)
    np.testing.assert_allclose(y, [[0.6, -0.8]], rtol=1e-6)
    assert squares.tolist() == [25.0]
