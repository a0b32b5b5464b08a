"""Greedy training: what a layer may depend on, which weights are kept, and resuming."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import roc_auc_score

from jaxlearn.core import Rule, from_linen
from jaxlearn.data.graphs import edges
from jaxlearn.data.link_split import link_split
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes
from jaxlearn.models.gnn import GCN, GraphLayer, gcn_matrix
from jaxlearn.models.layers.sparse import to_dense
from jaxlearn.objectives import LayerTask, link_cross_entropy
from jaxlearn.procedures.layerwise import Stage, Trained, layerwise, predict
from jaxlearn.rules.graph_layer import graph_layer
from jaxlearn.rules.single_forward import graph_stage, single_forward, virtual_nodes

NODES, CLASSES = 24, 3
TX = optax.adam(3e-2)


def batches():
    """(train, validation) of a planted graph, sharing one context."""
    graph, train = planted_graph(NODES, CLASSES, 12), np.arange(0, NODES, 2)
    whole = augment_with_virtual_nodes(graph, train, jax.random.key(0))
    context = {
        "features": jnp.asarray(whole.features),
        "matrix": gcn_matrix(*edges(whole), NODES + CLASSES),
        "virtual": np.arange(NODES, NODES + CLASSES),
    }
    return [node_batch(ids, graph.labels, context) for ids in (train, train + 1)]


def correct(outputs, batch):
    return outputs.argmax(-1) == batch["labels"]


def block():
    return from_linen(GraphLayer(GCN(8)))


STAGES = [Stage(*graph_stage(block()))] * 2


def train(stages, **options):
    settings = {"steps": 6, "evaluate_every": 2, "patience": None} | options
    return layerwise(stages, TX, jax.random.key(1), *batches(), correct, **settings)


def test_identity_1_a_layer_is_bitwise_the_same_whatever_is_trained_above_it():
    alone, below = train(STAGES[:1])[0], train(STAGES)[0]
    jax.tree.map(np.testing.assert_array_equal, alone.params, below.params)


def test_prediction_is_that_of_the_joint_rule_with_the_same_weights():
    trained, (_, validation) = train(STAGES), batches()
    joint = single_forward([block(), block()], virtual_nodes())
    params = {str(l): layer.params["0"] for l, layer in enumerate(trained)}
    want, _ = joint.predict(params, {}, validation)
    np.testing.assert_allclose(predict(STAGES, trained, validation), want, atol=1e-6)
    score = float(np.mean(correct(want, validation)))
    history = [row["validation/score"] for row in trained[1].history if "validation/score" in row]
    np.testing.assert_allclose(max(history), score, atol=1e-6)


def link_stage(power: int = 1) -> Stage:
    """A layer for links; its votes are raised to a power, which leaves their order alone."""
    task = link_cross_entropy()
    bent = LayerTask(task.objective, lambda x, batch: task.vote(x, batch) ** power)
    return Stage(*graph_layer(block(), bent))


def test_identity_9_the_votes_of_layers_on_links_are_added_up():
    graph = planted_graph(NODES, CLASSES, 12)
    split = link_split(graph, 0)
    context = {"features": graph.features, "matrix": gcn_matrix(*split.known, NODES)}
    batch = {"inputs": split.train, "context": context}
    stages, trained, given = [link_stage()] * 2, [], batch
    for number, stage in enumerate(stages):
        params, state = jax.jit(stage.rule.init)(jax.random.key(number), given)
        # far from the start, where all votes are near 1/2
        params = jax.tree.map(lambda w: 3 * w, params)
        trained.append(Trained(params, state, [], 0))
        given = given | {"context": stage.advance(params, state, given["context"])}
    rows, votes = np.asarray(graph.features, np.float64), []
    matrix = np.asarray(jax.jit(to_dense)(context["matrix"]), np.float64)
    for layer in trained:
        own = layer.params["0"]["convolution"]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.maximum(matrix @ rows @ np.asarray(own["kernel"], np.float64) + own["bias"], 0)
        ends = rows[split.train]
        votes.append(1 / (1 + np.exp(-(ends[:, :, 0] * ends[:, :, 1]).sum(-1))))
    np.testing.assert_allclose(predict(stages, trained, batch), votes[0] + votes[1], atol=1e-5)

    def area(*powers: int) -> float:
        bent = [link_stage(power) for power in powers]
        scores = np.asarray(predict(bent, trained[: len(powers)], batch))
        return roc_auc_score(np.broadcast_to([1, 0], scores.shape).ravel(), scores.ravel())

    assert area(8) == area(1)
    assert area(8, 1) != area(1, 1)


@pytest.mark.slow
def test_training_lowers_the_local_loss_of_every_layer():
    for layer in train(STAGES, steps=20):
        assert layer.history[-1]["loss"] < layer.history[0]["loss"]


def scripted(scores) -> Stage:
    """A stage whose validation scores are given: it counts its steps and scores `scores[step]`."""
    table = jnp.asarray(scores)

    def signal(params, state, batch, key):
        return {"count": jnp.float32(-1)}, state, {"loss": params["count"]}

    def output(params, state, batch):
        score = table[params["count"].astype(int)]
        return jnp.full(batch["inputs"].shape, score), state

    rule = Rule(lambda key, batch: ({"count": jnp.float32(0)}, {}), signal, output)
    return Stage(rule, lambda params, state, context: context)


def count_steps(scores, **options):
    batch = {"inputs": np.zeros(2), "context": {}}
    return layerwise(
        [scripted(scores)],
        optax.sgd(1.0),
        jax.random.key(0),
        batch,
        batch,
        lambda outputs, batch: outputs,
        **{"steps": 8, "evaluate_every": 1} | options,
    )[0]


def test_the_weights_of_the_best_validation_are_restored():
    best = count_steps([0, 1, 2, 9, 4, 5, 6, 7, 8])
    assert float(best.params["count"]) == 3
    assert best.steps == 8


def test_a_stage_ends_after_so_many_validations_without_improvement():
    found = count_steps([0, 1, 5, 4, 5, 3, 9, 9, 9], patience=3)
    assert (found.steps, float(found.params["count"])) == (5, 2)


def test_validation_happens_every_so_many_steps():
    found = count_steps([0, 9, 1, 9, 2, 9, 1, 9, 1], evaluate_every=2)
    assert float(found.params["count"]) == 4


def test_validation_adds_up_the_layers_below():
    stages = [scripted([0.0, 3.0]), scripted([0.0, 4.0])]
    batch = {"inputs": np.zeros(2), "context": {}}
    seen = layerwise(
        stages, optax.sgd(1.0), jax.random.key(0), batch, batch, lambda o, b: o, steps=1
    )
    assert [layer.history[-1]["validation/score"] for layer in seen] == [3, 7]


@pytest.mark.slow
def test_every_stage_resumes_from_its_own_folder(tmp_path):
    want = train(STAGES)
    first = train(STAGES[:1], workdir=tmp_path)
    again = train(STAGES, workdir=tmp_path, config={"width": 8})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer-1", "layer-2"]
    for found, expected in ((first[0], want[0]), (again[0], want[0]), (again[1], want[1])):
        jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    assert [len(layer.history) for layer in again] == [6, 6]


def test_more_layers_than_stages_are_refused():
    with pytest.raises(ValueError, match="2 trained layers for 1 stages"):
        predict(STAGES[:1], [None, None], {})
