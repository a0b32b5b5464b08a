"""The sparse product against dense matrices, and what padding must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxlearn.models.layers import sparse
from tests.kernels import cuda


def dense(seed: int = 0, shape: tuple[int, int] = (7, 5), density: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * (rng.random(shape) < density)).astype(np.float32)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)


@pytest.mark.parametrize("pad_to", [None, 40])
def test_product_is_that_of_the_dense_matrix(x, pad_to):
    matrix = dense()
    found = jax.jit(sparse.spmm)(sparse.from_dense(matrix, pad_to=pad_to), x)
    np.testing.assert_allclose(found, matrix.astype(np.float64) @ x, atol=1e-6)


@pytest.mark.parametrize("pad_to", [None, 40])
def test_gradients_are_those_of_the_dense_product(x, pad_to):
    matrix = dense()
    stored = sparse.from_dense(matrix, pad_to=pad_to)
    weight = np.random.default_rng(2).normal(size=(7, 3)).astype(np.float32)
    loss = lambda y: jnp.sum(jnp.sin(y) * weight)
    by_values, by_x = jax.jit(
        jax.grad(lambda v, x: loss(sparse.spmm(stored._replace(values=v), x)), (0, 1))
    )(stored.values, x)
    want_matrix, want_x = jax.grad(lambda m, x: loss(m @ x), (0, 1))(matrix, x)
    rows, columns = np.nonzero(matrix)
    np.testing.assert_allclose(by_x, want_x, atol=1e-6)
    np.testing.assert_allclose(by_values[: len(rows)], want_matrix[rows, columns], atol=1e-6)
    np.testing.assert_array_equal(by_values[len(rows) :], 0)


def test_gradients_agree_with_finite_differences(x):
    stored = sparse.from_dense(dense())
    product = lambda v, x: sparse.spmm(stored._replace(values=v), x)
    check_grads(product, (stored.values, x), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)


def test_backward_pass_scatters_nothing_on_cpu(x):
    # the transposed rows make the backward pass a product like the forward one
    stored = sparse.from_dense(dense())
    loss = lambda x: jnp.sum(sparse.spmm(stored, x) ** 2)
    text = jax.jit(jax.grad(loss)).lower(x).compile().as_text()
    assert " scatter(" not in text
    assert text.count('custom_call_target="cpu_csr') == 2


def test_an_accelerator_scatters_nothing_either(x):
    # its kernel lets one program own a row: no atomics, the same bits at every run
    stored = sparse.from_dense(dense())
    text = cuda.lowered(jax.grad(lambda x: jnp.sum(sparse.spmm(stored, x) ** 2)), x)
    assert text.count(cuda.TRITON) == 2
    assert "stablehlo.scatter" not in text


@pytest.mark.parametrize("shared", [True, False])
def test_passes_interleaved_are_the_passes_one_by_one(shared):
    passes = [dense(seed) for seed in range(3)]
    stored = [sparse.from_dense(m, pad_to=20 + p) for p, m in enumerate(passes)]
    together = np.asarray(sparse.to_dense(sparse.interleaved(stored, shared=shared)))
    for p, want in enumerate(passes):
        rows = together[p::3]
        np.testing.assert_array_equal(rows if shared else rows[:, p::3], want)
        if not shared:
            rows = rows.copy()
            rows[:, p::3] = 0
            assert not rows.any()


def test_entries_may_come_in_any_order_and_return_as_they_were(x):
    matrix = dense(4)
    rows, columns = np.nonzero(matrix)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    rows, columns = rows[shuffled], columns[shuffled]
    stored = sparse.from_entries(rows, columns, matrix[rows, columns], matrix.shape, pad_to=30)
    np.testing.assert_array_equal(sparse.to_dense(stored), matrix)
    np.testing.assert_array_equal(np.diff(stored.pattern.rows) >= 0, True)
    np.testing.assert_array_equal(
        sparse.to_dense(stored).T[
            stored.transposed.rows[: len(rows)], stored.transposed.indices[: len(rows)]
        ],
        stored.values[stored.order][: len(rows)],
    )


def test_softmax_of_rows_is_the_softmax_of_each_row():
    matrix = dense(5)
    stored = sparse.from_dense(matrix, pad_to=33)
    weights = sparse.softmax_rows(stored.pattern, jnp.stack([stored.values, 9 * stored.values], 1))
    for head, factor in enumerate((1, 9)):
        powers = np.where(matrix != 0, np.exp(factor * matrix.astype(np.float64)), 0)
        total = powers.sum(1, keepdims=True)
        want = np.divide(powers, total, out=np.zeros_like(powers), where=total > 0)
        found = sparse.to_dense(stored._replace(values=weights[:, head]))
        np.testing.assert_allclose(found, want, atol=1e-6)
    entries = np.count_nonzero(matrix)
    np.testing.assert_array_equal(weights[entries:], 0)


def test_softmax_of_rows_stays_finite_for_large_scores():
    stored = sparse.from_dense(dense(5), pad_to=33)
    loss = lambda s: jnp.sum(sparse.softmax_rows(stored.pattern, s) ** 2)
    assert bool(jnp.isfinite(jax.grad(loss)(1e4 * stored.values)).all())


def test_one_compilation_serves_matrices_of_one_padded_size(x):
    traced = []
    product = jax.jit(lambda matrix, x: traced.append(1) or sparse.spmm(matrix, x))
    for seed in range(3):
        product(sparse.from_dense(dense(seed), pad_to=40), x)
    assert len(traced) == 1


def test_wrong_arguments_are_refused_with_the_figures(x):
    with pytest.raises(ValueError, match=r"rows span 0\.\.9, expected 0\.\.6"):
        sparse.from_entries(np.array([0, 9]), np.array([0, 0]), np.ones(2), (7, 5))
    with pytest.raises(ValueError, match="columns span -1"):
        sparse.from_entries(np.array([0]), np.array([-1]), np.ones(1), (7, 5))
    with pytest.raises(ValueError, match="pad_to=1 is less than"):
        sparse.from_dense(dense(), pad_to=1)
    with pytest.raises(ValueError, match=r"7 x 5 matrix needs x of shape \[5, d\], found \[7, 3\]"):
        sparse.spmm(sparse.from_dense(dense()), jnp.ones((7, 3)))
    pair = sparse.from_dense(dense()), sparse.from_dense(dense().T)
    with pytest.raises(ValueError, match=r"matrices of one shape, found \[\(5, 7\), \(7, 5\)\]"):
        sparse.interleaved(pair, shared=True)
    with pytest.raises(ValueError, match=r"matrices of one shape, found \[\]"):
        sparse.interleaved([], shared=True)
