"""Single-forward learning: the identities of the method, on graphs and on plain rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import axis, from_linen, make_state, make_step, microbatch, trees
from jaxlearn.data.graphs import edges
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes
from jaxlearn.models.gnn import GCN, GraphLayer, gcn_matrix
from jaxlearn.models.layers.sparse import to_dense
from jaxlearn.models.tiny import CLASSES, tiny_batch, tiny_blocks
from jaxlearn.rules.single_forward import (
    graph_stage,
    single_forward,
    virtual_examples,
    virtual_nodes,
    with_labels,
)
from jaxlearn.rules.top_down import labels_above
from tests.compiled import compiled

NODES, TRAIN = 24, np.arange(0, 24, 2)


def blocks(depth: int = 2):
    return [from_linen(GraphLayer(GCN(8))) for _ in range(depth)]


def graph_batch(new: np.ndarray | None = None, ids: np.ndarray = TRAIN):
    """Nodes of a planted graph with its virtual nodes; real node i is called `new[i]`."""
    new = np.arange(NODES) if new is None else new
    graph = planted_graph(NODES, CLASSES, 12)
    graph = augment_with_virtual_nodes(graph, TRAIN, jax.random.key(0))
    name = np.concatenate([new, np.arange(NODES, NODES + CLASSES)])
    sources, targets = edges(graph)
    context = {
        "features": graph.features[np.argsort(name)],
        "matrix": gcn_matrix(name[sources], name[targets], len(name)),
        "virtual": np.arange(NODES, NODES + CLASSES),
    }
    return node_batch(name[ids], graph.labels[np.argsort(name)], context)


GRAPH = compiled(single_forward(blocks(), virtual_nodes()))
PLAIN = compiled(single_forward(tiny_blocks(), virtual_examples(CLASSES)))


@pytest.fixture(params=["graph", "plain"])
def case(request):
    return (GRAPH, graph_batch()) if request.param == "graph" else (PLAIN, tiny_batch(12))


def test_identity_1_no_local_loss_reaches_the_weights_of_another_layer(case):
    rule, batch = case
    params, state = rule.init(jax.random.key(1), batch)

    def local_loss(params, l):
        return rule.signal(params, state, batch, jax.random.key(0))[2][f"loss/{l}"]

    every = jax.jit(lambda params: {l: jax.grad(local_loss)(params, l) for l in ("0", "1")})(params)
    every = jax.tree.map(np.asarray, every)
    signal = rule.signal(params, state, batch, jax.random.key(0))[0]
    for own, other in (("0", "1"), ("1", "0")):
        gradient = every[own]
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient[other]))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient[own], signal[own]
        )
        assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(gradient[own]))


def test_identity_5_predictions_sum_to_the_number_of_layers(case):
    rule, batch = case
    params, state = rule.init(jax.random.key(1), batch)
    outputs, _ = rule.predict(params, state, batch)
    assert outputs.shape == (12, CLASSES)
    np.testing.assert_allclose(outputs.sum(-1), 2, rtol=1e-6)


def test_identity_6_scores_move_with_the_nodes():
    new = np.random.default_rng(0).permutation(NODES)
    everyone = np.arange(NODES)
    params, state = GRAPH.init(jax.random.key(1), graph_batch())
    want, _ = GRAPH.predict(params, state, graph_batch(ids=everyone))
    found, _ = GRAPH.predict(params, state, graph_batch(new, ids=everyone))
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_identity_6_scores_move_with_the_classes_and_their_virtual_features():
    batch = graph_batch()
    params, state = GRAPH.init(jax.random.key(1), batch)
    want, _ = GRAPH.predict(params, state, batch)
    order = np.array([2, 0, 1])
    context = batch["context"]
    renamed = batch | {"context": context | {"virtual": context["virtual"][order]}}
    found, _ = GRAPH.predict(params, state, renamed)
    np.testing.assert_allclose(found, want[:, order], atol=1e-6)


def test_local_loss_is_the_cross_entropy_with_the_prototypes():
    temperature, batch = 0.5, tiny_batch(12)
    rule = compiled(
        single_forward(tiny_blocks(), virtual_examples(CLASSES), temperature=temperature)
    )
    params, state = rule.init(jax.random.key(1), batch)
    metrics = rule.signal(params, state, batch, jax.random.key(0))[2]
    x = np.asarray(virtual_examples(CLASSES).enter(batch), np.float64)
    outputs = 0
    for l in ("0", "1"):
        dense = params[l]["Dense_0"]
        x = x / (np.sqrt((x**2).sum(1, keepdims=True)) + 1e-8)
        x = np.maximum(x @ np.asarray(dense["kernel"], np.float64) + dense["bias"], 0)
        logits = x[:-CLASSES] @ x[-CLASSES:].T
        powers = np.exp(logits / temperature)
        share = powers[np.arange(12), batch["labels"]] / powers.sum(1)
        np.testing.assert_allclose(metrics[f"loss/{l}"], -np.log(share).mean(), rtol=1e-5)
        outputs = outputs + np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(rule.predict(params, state, batch)[0], outputs, rtol=1e-5)


@pytest.mark.parametrize("every_layer", [False, True])
def test_labels_can_be_appended_to_the_first_layer_or_to_all(every_layer):
    """By hand in float64, through two stages of a greedy training."""
    batch, depth = graph_batch(), 2
    every = jnp.zeros(NODES, int).at[TRAIN].set(batch["labels"])
    shown = labels_above(every, jnp.asarray(TRAIN), CLASSES)
    batch["context"] = with_labels(batch["context"], shown, every_layer=every_layer)
    rule, advance = graph_stage(blocks()[0])
    rule, advance = compiled(rule), jax.jit(advance)
    matrix = np.asarray(to_dense(batch["context"]["matrix"]), np.float64)
    x = np.concatenate([graph_batch()["context"]["features"], shown], 1).astype(np.float64)
    for l in range(depth):
        params, state = rule.init(jax.random.key(l), batch)
        layer = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["0"])
        kernel, bias = (next(a for a in jax.tree.leaves(layer) if a.ndim == n) for n in (2, 1))
        x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-8)
        x = np.maximum(matrix @ x @ kernel + bias, 0)
        logits = x[TRAIN] @ x[-CLASSES:].T
        wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(rule.predict(params, state, batch)[0], wanted, rtol=1e-4)
        batch = batch | {"context": advance(params, state, batch["context"])}
        x = np.concatenate([x, shown], 1) if every_layer else x


def test_prediction_ignores_the_labels_and_the_scale_of_the_input():
    batch = tiny_batch(12)
    params, state = PLAIN.init(jax.random.key(1), batch)
    want, _ = PLAIN.predict(params, state, batch)
    unlabelled = {"inputs": 7 * batch["inputs"], "index": batch["index"]}
    np.testing.assert_allclose(PLAIN.predict(params, state, unlabelled)[0], want, atol=1e-5)


def test_virtual_rows_are_the_same_at_every_call_and_differ_by_seed():
    batch = tiny_batch(4)
    first, again = (virtual_examples(CLASSES).enter(batch)[4:] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, virtual_examples(CLASSES, seed=1).enter(batch)[4:])


def test_images_keep_their_shape_beside_their_virtual_images():
    x = virtual_examples(10).enter({"inputs": jnp.zeros((2, 4, 4, 3))})
    assert x.shape == (12, 4, 4, 3)
    h, v = virtual_examples(10).read(x, {})
    assert (h.shape[0], v.shape[0]) == (2, 10)


def test_microbatches_give_the_same_signal(case):
    rule, batch = case
    params, state = rule.init(jax.random.key(1), batch)
    want = rule.signal(params, state, batch, jax.random.key(0))[0]
    found = jax.jit(microbatch(rule, 3).signal)(params, state, batch, jax.random.key(0))[0]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, want)


@pytest.mark.slow
def test_padded_nodes_with_weight_zero_change_nothing():
    batch = graph_batch()
    labels = planted_graph(NODES, CLASSES, 12).labels
    padded = node_batch(TRAIN, labels, batch["context"], multiple=8)
    assert len(padded["inputs"]) == 16
    params, state = GRAPH.init(jax.random.key(1), batch)
    want, _, metrics = GRAPH.signal(params, state, batch, jax.random.key(0))
    found, _, same = GRAPH.signal(params, state, padded, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, want)
    np.testing.assert_allclose(same["accuracy"], metrics["accuracy"], rtol=1e-6)


def test_split_examples_share_the_graph_and_give_the_same_step(case):
    rule, batch = case
    # vmap with the axis name of the mesh is what shard_map does, on a single device
    tx = optax.adam(1e-2)
    step = make_step(rule, tx)
    state = jax.jit(lambda: make_state(rule, tx, jax.random.key(1), batch))()
    axes = {name: None if name == "context" else 0 for name in batch}
    four = trees.over_examples(lambda leaf: leaf.reshape(4, 3, *leaf.shape[1:]), batch)
    split = jax.vmap(step, in_axes=(None, axes), axis_name=axis.DATA)
    want, _ = jax.jit(step)(state, batch)
    found, _ = jax.jit(split)(state, four)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), atol=1e-5),
        found.params,
        want.params,
    )


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature must be positive, found 0"):
        single_forward(tiny_blocks(), virtual_examples(CLASSES), temperature=0)
