"""Graph convolutions against dense numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import from_linen
from jaxlearn.models import gnn
from jaxlearn.models.layers.sparse import from_dense, interleaved, to_dense
from tests.compiled import compiled
from tests.drawn import variables

N, F, WIDTH = 9, 6, 8


def adjacency(seed: int = 0) -> np.ndarray:
    """A symmetric graph without loops; node 8 has no neighbour."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((N, N)) < 0.4, 1)
    upper[:, -1] = False
    return (upper | upper.T).astype(np.float64)


def nodes(kind: str, rows=None) -> gnn.Nodes:
    targets, sources = np.nonzero(adjacency())
    rows = np.random.default_rng(1).normal(size=(N, F)).astype(np.float32) if rows is None else rows
    return gnn.Nodes(rows, gnn.MATRICES[kind](sources, targets, N, pad_to=100))


def layer(kind: str, x: gnn.Nodes):
    """(apply, parameters in float64)."""
    model = from_linen(gnn.CONVOLUTIONS[kind](WIDTH))
    params, _ = variables(model, x)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    return jax.jit(lambda x: model.apply(params, {}, x)[0].rows), wide


def gcn(a, x, p):
    a = a + np.eye(N)
    degree = a.sum(1)
    return a / np.sqrt(np.outer(degree, degree)) @ x @ p["kernel"] + p["bias"]


def sage(a, x, p):
    means = np.stack([x[row > 0].mean(0) if row.any() else np.zeros(x.shape[1]) for row in a])
    return means @ p["neighbours"] + p["bias"] + x @ p["own"]


def heads_of_gat(a, x, p, size):
    a, out = a + np.eye(N), []
    for head in range(4):
        h = x @ p["kernel"][:, head * size : (head + 1) * size]
        scores = (h @ p["target"][head])[:, None] + (h @ p["source"][head])[None]
        scores = np.where(scores > 0, scores, 0.2 * scores)
        powers = np.exp(scores) * a
        out.append(powers / powers.sum(1, keepdims=True) @ h)
    return out


def gat(a, x, p):
    return np.concatenate(heads_of_gat(a, x, p, WIDTH // 4), 1) + p["bias"]


ORACLES = {"gcn": gcn, "sage": sage, "gat": gat}


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("sparse_rows", [False, True])
def test_convolution_is_its_dense_formula(kind, sparse_rows):
    x = nodes(kind)
    apply, params = layer(kind, x)
    given = x._replace(rows=from_dense(x.rows)) if sparse_rows else x
    want = ORACLES[kind](adjacency(), np.asarray(x.rows, np.float64), params)
    np.testing.assert_allclose(apply(given), want, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize("kind", ORACLES)
def test_convolution_is_equivariant_to_the_order_of_nodes(kind):
    targets, sources = np.nonzero(adjacency())
    x = nodes(kind)
    apply, _ = layer(kind, x)
    new = np.random.default_rng(3).permutation(N)  # old node i is called new[i]
    matrix = gnn.MATRICES[kind](new[sources], new[targets], N, pad_to=100)
    renamed = gnn.Nodes(x.rows[np.argsort(new)], matrix)
    np.testing.assert_allclose(apply(renamed)[new], apply(x), atol=1e-5)


@pytest.mark.parametrize("kind", ORACLES)
def test_messages_follow_the_direction_of_an_edge(kind):
    one_way = gnn.MATRICES[kind](np.array([0]), np.array([1]), 2)
    reached = np.asarray(to_dense(one_way)) != 0
    assert reached[1, 0]
    assert not reached[0, 1]


def test_gradients_reach_sparse_rows_kernel_as_they_reach_a_dense_one():
    x = nodes("gcn")
    model = from_linen(gnn.GCN(WIDTH))
    params, _ = variables(model, x)
    loss = lambda p, x: jnp.sum(jnp.tanh(model.apply(p, {}, x)[0].rows))
    want = jax.jit(jax.grad(loss))(params, x)
    found = jax.jit(jax.grad(loss))(params, x._replace(rows=from_dense(x.rows)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, want)


@pytest.mark.parametrize("sparse_rows", [False, True])
def test_row_norm_makes_unit_rows_and_keeps_zero_rows(sparse_rows):
    rows = np.array([[3, 0, 4], [0, 0, 0], [0, -2, 0]], np.float32)
    found = gnn.row_norm(from_dense(rows, pad_to=7) if sparse_rows else rows)
    found = to_dense(found) if sparse_rows else found
    np.testing.assert_allclose(found, [[0.6, 0, 0.8], [0, 0, 0], [0, -1, 0]], atol=1e-6)


def test_row_norm_has_a_finite_gradient_at_a_zero_row():
    gradient = jax.grad(lambda x: jnp.sum(gnn.row_norm(x) ** 2))(jnp.zeros((2, 3)))
    assert bool(jnp.isfinite(gradient).all())


def test_layer_ends_in_a_relu_unless_told_otherwise():
    x = nodes("gcn")
    linear = compiled(from_linen(gnn.GraphLayer(gnn.GCN(WIDTH), relu=False)))
    params, _ = variables(linear, x)
    below = np.asarray(linear.apply(params, {}, x)[0].rows)
    above = compiled(from_linen(gnn.GraphLayer(gnn.GCN(WIDTH)))).apply(params, {}, x)[0].rows
    assert (below < 0).any()
    np.testing.assert_array_equal(above, np.maximum(below, 0))


def test_reading_at_nodes_gives_their_rows():
    x = nodes("gcn")
    model = from_linen(gnn.GCN(WIDTH))
    batch = {"inputs": jnp.array([4, 4, 1]), "context": {"features": x.rows, "matrix": x.matrix}}
    inputs = gnn.with_graph(batch)["inputs"]
    reader = compiled(gnn.at_nodes(model))
    params, state = variables(reader, inputs)
    found, _ = reader.apply(params, state, inputs)
    rows = np.asarray(compiled(model).apply(params, state, x)[0].rows)
    np.testing.assert_array_equal(found, rows[np.asarray(batch["inputs"])])


@pytest.mark.parametrize("passes", [(), (2,)])
def test_attention_without_concatenation_is_the_mean_over_heads_of_the_whole_width(passes):
    rng, x = np.random.default_rng(7), nodes("gat")
    rows = rng.normal(size=(N, *passes, F)).astype(np.float32)
    model = from_linen(gnn.GAT(7, concat=False))  # four heads do not share 7
    params, _ = variables(model, x)
    assert (params["kernel"].shape, params["bias"].shape) == ((F, 4 * 7), (7,))
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params) | {"bias": rng.random(7)}
    found = jax.jit(model.apply)(params | {"bias": wide["bias"]}, {}, x._replace(rows=rows))[0].rows
    for number in np.ndindex(passes):
        place = (slice(None), *number)
        heads = heads_of_gat(adjacency(), rows[place].astype(np.float64), wide, 7)
        np.testing.assert_allclose(found[place], np.mean(heads, 0) + wide["bias"], atol=2e-6)


def test_attention_refuses_a_width_that_heads_cannot_share():
    with pytest.raises(ValueError, match="width 7 is no multiple of the 4 heads"):
        from_linen(gnn.GAT(7)).init(jax.random.key(0), nodes("gat"))


def one_pass_at_a_time(apply, kind: str, rows, matrices) -> np.ndarray:
    """`[N, P, WIDTH]`, every pass through the layer by itself."""
    return np.stack([apply(gnn.Nodes(rows[:, p], m)) for p, m in enumerate(matrices)], axis=1)


@pytest.mark.parametrize("kind", ORACLES)
def test_passes_go_through_a_layer_together_as_they_do_alone(kind):
    rng, x = np.random.default_rng(4), nodes(kind)
    shared, own = x.rows, rng.normal(size=(N, 3, 2)).astype(np.float32)
    rows = np.concatenate([np.repeat(shared[:, None], 3, 1), own], -1)
    apply, _ = layer(kind, gnn.Nodes(rows[:, 0], x.matrix))
    want = one_pass_at_a_time(apply, kind, rows, [x.matrix] * 3)
    np.testing.assert_allclose(apply(x._replace(rows=rows)), want, atol=1e-5)
    for left in (shared, from_dense(shared)):
        given = x._replace(rows=gnn.beside(left, jnp.asarray(own)))
        np.testing.assert_allclose(apply(given), want, atol=1e-5)


@pytest.mark.parametrize("kind", ORACLES)
def test_passes_may_differ_in_their_edges(kind):
    matrices = [gnn.MATRICES[kind](*np.nonzero(adjacency(seed)), N) for seed in range(3)]
    shared = np.random.default_rng(1).normal(size=(N, F)).astype(np.float32)
    apply, _ = layer(kind, gnn.Nodes(shared, matrices[0]))
    want = one_pass_at_a_time(apply, kind, np.repeat(shared[:, None], 3, 1), matrices)
    found = apply(gnn.Nodes(shared, interleaved(matrices, shared=True)))
    np.testing.assert_allclose(found.reshape(N, 3, WIDTH), want, atol=1e-5)
    rows = np.random.default_rng(2).normal(size=(N, 3, F)).astype(np.float32)
    want = one_pass_at_a_time(apply, kind, rows, matrices)
    found = apply(gnn.Nodes(rows.reshape(-1, F), interleaved(matrices, shared=False)))
    np.testing.assert_allclose(found.reshape(N, 3, WIDTH), want, atol=1e-5)


@pytest.mark.parametrize("passes", [(), (4,)])
def test_row_norm_of_two_parts_is_that_of_whole_rows(passes):
    rng = np.random.default_rng(5)
    left = np.where(rng.random((N, F)) < 0.5, rng.normal(size=(N, F)), 0).astype(np.float32)
    right = rng.normal(size=(N, *passes, 3)).astype(np.float32)
    repeated = np.broadcast_to(left.reshape(N, *[1] * len(passes), F), (*right.shape[:-1], F))
    whole = np.concatenate([repeated, right], -1).astype(np.float64)
    whole /= np.linalg.norm(whole, axis=-1, keepdims=True)
    kernel = rng.normal(size=(F + 3, 5)).astype(np.float32)
    for kept in (left, from_dense(left)):
        normed = gnn.row_norm(gnn.beside(kept, jnp.asarray(right)))
        np.testing.assert_allclose(gnn.times(normed, kernel), whole @ kernel, atol=1e-5)


def test_every_pass_is_normalised_by_itself():
    rows = np.random.default_rng(6).normal(size=(N, 3, F)).astype(np.float32)
    found = jax.jit(gnn.norm_nodes)(nodes("gcn", rows)).rows
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-5)
