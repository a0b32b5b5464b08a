"""Pruning in one shot, against numpy and against the published algorithm written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.opt import opt_blocks
from jaxlearn.procedures.pruning import (
    Inputs,
    linear_inputs,
    magnitude,
    n_of_m,
    prune,
    random_scores,
    row_wise,
    sparsegpt,
    sparsity,
    unstructured,
    wanda,
)
from tests.drawn import variables

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
WEIGHT = jnp.asarray(DRAW.normal(size=(16, 6)), jnp.float32)
X = (DRAW.normal(size=(5, 9, 16)) * np.linspace(0.1, 2, 16)).astype(np.float32)
ROWS = X.reshape(-1, 16)
INPUTS = Inputs(jnp.asarray(ROWS.T @ ROWS), jnp.float32(5))


def pruned(pruner, weight=WEIGHT, inputs=INPUTS, key=KEY):
    """What a pruner leaves, in one program."""
    return np.asarray(jax.jit(pruner.prune)(weight, inputs, key))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.8])
def test_identity_6_unstructured_drops_exactly_the_floor_or_one_more_in_parity(share):
    scores = jnp.abs(WEIGHT)
    floor = int(share * WEIGHT.size)
    assert (~unstructured(share)(scores)).sum() == floor
    assert (~unstructured(share, parity=True)(scores)).sum() == floor + 1
    dropped = np.sort(np.abs(np.asarray(WEIGHT)).ravel())[:floor]
    kept = np.asarray(scores)[np.asarray(unstructured(share)(scores))]
    assert floor == 0 or dropped.max() < kept.min()


def test_identity_6_equal_scores_are_still_counted_exactly():
    assert (~unstructured(0.5)(jnp.ones((4, 4)))).sum() == 8


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 2)])
def test_identity_6_every_group_of_m_inputs_has_n_zeros(n, m):
    for pruner in (
        magnitude(n_of_m(n, m)),
        random_scores(n_of_m(n, m)),
        wanda(n_of_m(n, m)),
        sparsegpt(n_of_m(n, m), block=8, group=m),
    ):
        made = pruned(pruner)
        zeros = (made.reshape(-1, m, 6) == 0).sum(1)
        assert np.all(zeros == n)


def test_wanda_against_numpy_within_rows_and_over_the_matrix():
    x = np.asarray(X, np.float64)
    norm = np.sqrt((x**2).sum(1).mean(0))  # over tokens, then the mean over sequences
    score = np.abs(np.asarray(WEIGHT, np.float64)) * norm[:, None]
    made = pruned(wanda(row_wise(0.5)))
    for j in range(6):
        assert {*np.flatnonzero(made[:, j] == 0)} == {*np.argsort(score[:, j])[:8]}
    whole = pruned(wanda(unstructured(0.25))).ravel()
    assert {*np.flatnonzero(whole == 0)} == {*np.argsort(score.ravel())[:24]}


def test_random_scores_ignore_the_weights_and_hear_the_key():
    pruner = random_scores(unstructured(0.5))
    draw = jax.jit(lambda weight, key: pruner.prune(weight, None, key) == 0)
    zeros = lambda weight, key: np.asarray(draw(weight, key))
    np.testing.assert_array_equal(zeros(WEIGHT, KEY), zeros(WEIGHT**2 + 1, KEY))
    assert np.any(zeros(WEIGHT, KEY) != zeros(WEIGHT, jax.random.key(5)))


@pytest.mark.parametrize("choice", [unstructured(0.5), unstructured(0.5, parity=True)])
def test_identity_8_sparsegpt_with_unit_hessian_is_magnitude(choice):
    unit = Inputs(jnp.eye(16), jnp.float32(2))
    found = pruned(sparsegpt(choice, block=16), inputs=unit)
    plain = pruned(magnitude(choice), inputs=None)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)


def published_sparsegpt(w, x, share, block, damping=0.01):
    """Algorithm 1 in numpy, float64, with weights `[outputs, inputs]` and columns in order."""
    w = w.copy()
    hessian = 2 / len(x) * sum(s.T @ s for s in x)
    hessian += damping * np.mean(np.diag(hessian)) * np.eye(len(hessian))
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    for i in range(0, w.shape[1], block):
        here = slice(i, i + block)
        score = (w[:, here] / np.diag(upper)[here]) ** 2
        cut = np.sort(score.ravel())[int(share * score.size)]
        mask, errors = score < cut, np.zeros_like(score)
        for j in range(i, i + block):
            old = w[:, j].copy()
            w[mask[:, j - i], j] = 0
            errors[:, j - i] = (old - w[:, j]) / upper[j, j]
            w[:, j + 1 : i + block] -= np.outer(errors[:, j - i], upper[j, j + 1 : i + block])
        w[:, i + block :] -= errors @ upper[here, i + block :]
    return w


@pytest.mark.parametrize("block", [4, 8, 16])
def test_sparsegpt_against_the_published_algorithm(block):
    want = published_sparsegpt(
        np.asarray(WEIGHT, np.float64).T, np.asarray(X, np.float64), 0.5, block
    )
    found = pruned(sparsegpt(unstructured(0.5), block=block))
    np.testing.assert_allclose(found, want.T, rtol=1e-3, atol=1e-4)


def test_sparsegpt_computes_more_of_the_old_outputs_than_wanda_and_wanda_than_magnitude():
    error = lambda pruner: float(((ROWS @ (pruned(pruner) - np.asarray(WEIGHT))) ** 2).sum())
    order = [sparsegpt(unstructured(0.5)), wanda(unstructured(0.5)), magnitude(unstructured(0.5))]
    best, middle, worst = map(error, order)
    assert best < middle < worst


def test_sparsegpt_takes_the_weights_of_dead_inputs():
    dead = ROWS * (np.arange(16) != 3)
    made = pruned(sparsegpt(unstructured(0.25)), inputs=Inputs(dead.T @ dead, jnp.float32(5)))
    assert np.isfinite(made).all()
    assert not np.any(made[3])


def test_inputs_of_linear_layers_are_found_by_the_paths_of_their_kernels():
    block = opt_blocks(11, 1, 8, longest=6, heads=2, hidden=12)[1]
    x = jnp.asarray(DRAW.normal(size=(3, 5, 8)), jnp.float32)
    params, state = variables(block, x)
    found = jax.jit(lambda params: linear_inputs(block, params, state, x))(params)
    paths = ["attention/" + name for name in ("query", "key", "value", "out")] + ["hidden", "out"]
    assert {*found} == {f"layer/{path}/kernel" for path in paths}
    normed = np.asarray(x, np.float64)
    normed = (normed - normed.mean(-1, keepdims=True)) / np.sqrt(
        normed.var(-1, keepdims=True) + 1e-5
    )
    norm = jax.tree.map(np.asarray, params["layer"]["attention_norm"])
    normed = normed * norm["scale"] + norm["bias"]
    want = np.einsum("bti,btj->ij", normed, normed)
    np.testing.assert_allclose(
        found["layer/attention/query/kernel"].gram, want, rtol=1e-4, atol=1e-4
    )
    assert found["layer/out/kernel"].gram.shape == (12, 12)
    assert found["layer/out/kernel"].sequences == 3


def test_every_layer_gets_the_same_sparsity_and_nothing_else_is_touched():
    model = stack(opt_blocks(11, 2, 8, longest=6, heads=2))
    params, _ = variables(model, np.zeros((1, 4), int))
    within = lambda path: path.endswith("kernel") and "head" not in path
    cut = jax.jit(lambda params: prune(magnitude(unstructured(0.75)), params, within, KEY))
    made = jax.tree.map(np.asarray, cut(params))
    for layer in ("1", "2"):
        for kernel in (made[layer]["layer"]["hidden"], made[layer]["layer"]["attention"]["key"]):
            assert float((kernel["kernel"] == 0).mean()) == 0.75
    for part in ("0", "3"):
        jax.tree.map(np.testing.assert_array_equal, made[part], params[part])
    assert sparsity(made, within) == 0.75


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: unstructured(1.0), "sparsity must be in"),
        (lambda: row_wise(-0.1), "sparsity must be in"),
        (lambda: n_of_m(4, 4), "needs 0 < n < m"),
        (lambda: n_of_m(2, 4)(jnp.ones((6, 2))), "2 of 4 does not fit an axis of 6"),
        (lambda: sparsegpt(unstructured(0.5), block=8, group=3), "has to divide block"),
        (lambda: wanda(row_wise(0.5)).prune(WEIGHT, None, KEY), "needs the inputs"),
        (lambda: sparsegpt(row_wise(0.5)).prune(WEIGHT, None, KEY), "needs the inputs"),
        (
            lambda: prune(wanda(row_wise(0.5)), {"w": WEIGHT}, lambda path: True, KEY),
            "needs the inputs of w",
        ),
        (
            lambda: prune(magnitude(row_wise(0.5)), {"w": WEIGHT}, lambda path: False, KEY),
            "nothing to prune",
        ),
    ],
)
def test_wrong_use_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
