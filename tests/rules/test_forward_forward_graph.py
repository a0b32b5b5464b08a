"""Forward-forward on graphs: all passes at once against one pass after the other."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import from_linen
from jaxlearn.data.graphs import edges
from jaxlearn.data.label_passes import (
    appended_labels,
    judging_passes,
    pass_edges,
    training_passes,
)
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.models.gnn import CONVOLUTIONS, GCN, MATRICES, GraphLayer, Nodes, gcn_matrix, row_norm
from jaxlearn.models.layers.sparse import from_dense, to_dense
from jaxlearn.procedures.layerwise import Stage, predict
from jaxlearn.procedures.layerwise import Trained as Layer
from jaxlearn.rules.forward_forward_graph import (
    appended_context,
    label_appending,
    pass_task,
    virtual_context,
    virtual_node_passes,
)

NODES, CLASSES, WIDTH = 24, 3, 8
GRAPH = planted_graph(NODES, CLASSES, 12)
TRAIN, JUDGED = np.arange(0, NODES, 2), np.arange(1, NODES, 4)
VIRTUAL = np.random.default_rng(0).normal(size=(CLASSES, 12)).astype(np.float32)
LEARNING = training_passes(GRAPH.labels, TRAIN, CLASSES, seed=0)
JUDGING = judging_passes(GRAPH.labels, TRAIN, JUDGED, CLASSES)
BLOCK = from_linen(GraphLayer(GCN(WIDTH)))
MAKERS = {"labels": label_appending, "virtual nodes": virtual_node_passes}
KINDS = {kind: make(BLOCK) for kind, make in MAKERS.items()}
dense = jax.jit(to_dense)
every = pytest.mark.parametrize("kind", KINDS)


def context(kind: str, passes, *, convolution: str = "gcn", one_way: bool = False):
    if kind == "labels":
        return appended_context(GRAPH, passes, convolution, store=from_dense)
    options = {"judging": passes is JUDGING, "one_way": one_way}
    return virtual_context(GRAPH, passes, convolution, VIRTUAL, **options)


def batch(kind: str, passes, **options):
    ids = TRAIN if passes is LEARNING else JUDGED
    return node_batch(ids, GRAPH.labels, context(kind, passes, **options))


def dense_pass(kind: str, passes, number: int):
    """(features, matrix) of one pass in float64."""
    if kind == "labels":
        labels = appended_labels(passes, NODES, CLASSES)[:, number]
        return np.concatenate([GRAPH.features, labels], 1), np.asarray(
            dense(gcn_matrix(*edges(GRAPH), NODES)), np.float64
        )
    ends = pass_edges(GRAPH, passes, number)
    matrix = dense(gcn_matrix(*ends, NODES + CLASSES))
    return np.concatenate([GRAPH.features, VIRTUAL]), np.asarray(matrix, np.float64)


def dense_layer(params, x, matrix):
    x = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-8)
    own = params["0"]["convolution"]
    return np.maximum(matrix @ x @ np.asarray(own["kernel"], np.float64) + own["bias"], 0)


@cache
def two_layers(kind: str):
    """The parameters of two layers, on the batch they are trained on."""
    rule, advance = KINDS[kind]
    below = batch(kind, LEARNING)
    first, _ = jax.jit(rule.init)(jax.random.key(1), below)
    context = advance(first, {}, below["context"])
    above = below | {"context": context}
    return (first, jax.jit(rule.init)(jax.random.key(2), above)[0]), above


@every
def test_loss_is_that_of_the_passes_one_by_one(kind):
    (first, second), above = two_layers(kind)
    rule, rows, losses = KINDS[kind][0], [], []
    for number in range(CLASSES):
        x, matrix = dense_pass(kind, LEARNING, number)
        rows.append(dense_layer(first, x, matrix))
    for number in range(CLASSES):
        # with virtual nodes the positive output is what every pass goes on with
        x = rows[0] if kind == "virtual nodes" else rows[number]
        h = dense_layer(second, x, dense_pass(kind, LEARNING, number)[1])
        margin = (h[TRAIN] ** 2).sum(1) - 2
        losses.append(np.log1p(np.exp(-margin if number == 0 else margin)).mean())
    grads, _, metrics = jax.jit(rule.signal)(second, {}, above, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], losses[0] + np.mean(losses[1:]), rtol=1e-4)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(grads))


def one_pass(kind: str, number: int, convolution: str):
    """(features, matrix) of one training pass as a graph of its own."""
    if kind == "labels":
        labels = appended_labels(LEARNING, NODES, CLASSES)[:, number]
        rows = np.concatenate([GRAPH.features, labels], 1)
        return rows, MATRICES[convolution](*edges(GRAPH), NODES)
    ends = pass_edges(GRAPH, LEARNING, number)
    rows = np.concatenate([GRAPH.features, VIRTUAL])
    return rows, MATRICES[convolution](*ends, NODES + CLASSES)


@pytest.mark.parametrize("convolution", ["sage", "gat"])
@every
def test_with_other_convolutions_too_the_loss_is_that_of_the_passes_one_by_one(kind, convolution):
    block = from_linen(GraphLayer(CONVOLUTIONS[convolution](WIDTH)))
    rule, advance = MAKERS[kind](block)
    below = batch(kind, LEARNING, convolution=convolution)
    first, _ = jax.jit(rule.init)(jax.random.key(1), below)
    above = below | {"context": jax.jit(advance)(first, {}, below["context"])}
    second, _ = jax.jit(rule.init)(jax.random.key(2), above)
    alone = jax.jit(lambda p, rows, matrix: block.apply(p, {}, Nodes(row_norm(rows), matrix))[0])
    shown = [one_pass(kind, number, convolution) for number in range(CLASSES)]
    rows = [alone(first["0"], x, matrix).rows for x, matrix in shown]
    losses = []
    for number, (_, matrix) in enumerate(shown):
        x = rows[0] if kind == "virtual nodes" else rows[number]
        margin = (alone(second["0"], x, matrix).rows[TRAIN] ** 2).sum(1) - 2
        losses.append(np.log1p(np.exp(-margin if number == 0 else margin)).mean())
    signal = jax.jit(rule.signal)
    grads, _, metrics = signal(second, {}, above, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], losses[0] + np.mean(losses[1:]), rtol=1e-4)
    lower = jax.tree.map(lambda w, g: w - 1e-2 * g, second, grads)
    assert signal(lower, {}, above, jax.random.key(0))[2]["loss"] < metrics["loss"]


@every
def test_judging_runs_the_whole_network_once_per_class(kind):
    params, _ = two_layers(kind)
    stages = [Stage(*KINDS[kind])] * 2
    trained = [Layer(p, {}, [], 0) for p in params]
    found = predict(stages, trained, batch(kind, JUDGING))
    want = np.zeros((len(JUDGED), CLASSES))
    for c in range(CLASSES):
        x, matrix = dense_pass(kind, JUDGING, c)
        for layer in params:
            x = dense_layer(layer, x, matrix)
            want[:, c] += (x[JUDGED] ** 2).mean(1) - 2
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_identity_1_a_layer_is_given_numbers_and_nothing_to_pull_back_through():
    # the rule of a layer knows its own weights alone; the input is a leaf of the batch
    (first, second), above = two_layers("labels")
    rule = KINDS["labels"][0]
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    grads, _, _ = jax.eval_shape(rule.signal, second, {}, above, jax.random.key(0))
    assert shapes(grads) == shapes(second) != shapes(first)


def test_identity_5_sum_and_mean_of_squares_choose_the_same_class():
    given = batch("labels", JUDGING)
    rule, advance = KINDS["labels"]
    params, _ = rule.init(jax.random.key(1), given)
    rows = np.asarray(advance(params, {}, given["context"])["features"])[JUDGED]
    votes, _ = rule.predict(params, {}, given)
    np.testing.assert_allclose(votes + 2, (rows**2).sum(-1) / WIDTH, atol=1e-6)
    np.testing.assert_array_equal(votes.argmax(-1), (rows**2).sum(-1).argmax(-1))


def test_without_messages_from_virtual_nodes_there_is_nothing_to_learn_from():
    given = batch("virtual nodes", JUDGING, one_way=True)
    rule, _ = KINDS["virtual nodes"]
    params, _ = rule.init(jax.random.key(1), given)
    votes, _ = rule.predict(params, {}, given)
    np.testing.assert_allclose(votes, votes[:, :1] * np.ones(CLASSES), atol=1e-6)
    other, _ = rule.predict(params, {}, batch("virtual nodes", JUDGING))
    assert np.abs(other - other[:, :1]).max() > 1e-4


def test_a_higher_threshold_asks_for_more_goodness():
    class Rows:
        rows = jnp.ones((1, 2, 4))

    given = {"inputs": np.zeros(1, int), "context": {"passes": np.arange(2)}}
    for theta in (1.0, 6.0):
        loss, metrics = pass_task(theta).objective(Rows, given)
        want = np.log1p(np.exp(theta - 4)) + np.log1p(np.exp(4 - theta))
        np.testing.assert_allclose(loss, want, rtol=1e-6)
        assert metrics["positive"] == metrics["negative"] == 4
