"""The augmented graph: where virtual nodes are connected and where they are not."""

import jax
import numpy as np
import pytest

from jaxlearn.data.graphs import edges
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.data.splits import kfold_split
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes


def check(graph, split):
    nodes, classes = len(graph.labels), len(graph.classes)
    whole = augment_with_virtual_nodes(graph, split.train, jax.random.key(0))
    assert len(whole.labels) == len(whole.features) == nodes + classes
    sources, targets = edges(whole)
    assert len(sources) - len(graph.indices) == 2 * len(split.train)
    kept = (sources < nodes) & (targets < nodes)
    np.testing.assert_array_equal(np.stack([sources, targets])[:, kept], np.stack(edges(graph)))
    virtual = sources >= nodes
    # edges that touch a virtual node, counted in both directions
    touching = np.bincount(sources[virtual] - nodes, minlength=classes) + np.bincount(
        targets[targets >= nodes] - nodes, minlength=classes
    )
    np.testing.assert_array_equal(
        touching, 2 * np.bincount(graph.labels[split.train], minlength=classes)
    )
    np.testing.assert_array_equal(graph.labels[targets[virtual]], sources[virtual] - nodes)
    assert set(targets[virtual].tolist()) == set(split.train.tolist())
    return whole


def test_identity_3_augmented_cora_ml_of_split_0(real):
    graph = real("cora_ml", binary=True, row_normalize=True)
    split = kfold_split(len(graph.labels), 0)
    whole = check(graph, split)
    assert len(whole.labels) == 3002
    assert len(whole.indices) - len(graph.indices) == 3832


def test_identity_3_virtual_nodes_touch_training_nodes_of_their_class_alone():
    graph = planted_graph()
    check(graph, kfold_split(len(graph.labels), 2))


def test_identity_8_split_0_of_cora_ml():
    split = kfold_split(2995, 0)
    assert [len(ids) for ids in split] == [1916, 480, 599]
    assert split.test[:5].tolist() == [4, 6, 7, 9, 18]
    order = np.arange(2995)
    np.random.RandomState(101).shuffle(order)
    np.testing.assert_array_equal(split.test, np.sort(order[:599]))
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(2995))


def test_features_of_virtual_nodes_are_standard_normal_and_come_from_the_key():
    graph, train = planted_graph(300, 3, 3000), np.arange(30)
    whole, again, other = (
        augment_with_virtual_nodes(graph, train, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    drawn = whole.features[300:]
    np.testing.assert_array_equal(drawn, again.features[300:])
    assert not np.allclose(drawn, other.features[300:])
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1) < 0.05


def test_wrong_training_ids_are_refused():
    with pytest.raises(ValueError, match=r"span 3\.\.120, expected 0\.\.119"):
        augment_with_virtual_nodes(planted_graph(), np.array([3, 120]), jax.random.key(0))
    with pytest.raises(ValueError, match="comes twice"):
        augment_with_virtual_nodes(planted_graph(), np.array([3, 3]), jax.random.key(0))


def test_planted_graph_shows_its_classes_in_edges_and_features():
    graph = planted_graph(300, 3, 60)
    sources, targets = edges(graph)
    assert 0.75 < np.mean(graph.labels[sources] == graph.labels[targets]) < 0.95
    of_class = np.stack([graph.features[graph.labels == c].sum(0) for c in range(3)])
    assert np.mean(of_class.argmax(0) == np.arange(60) % 3) > 0.9
    np.testing.assert_allclose(graph.features.sum(1), 1, rtol=1e-5)
    with pytest.raises(ValueError, match="cannot hold 4 classes"):
        planted_graph(3, 4, 10)


@pytest.mark.parametrize("multiple", [1, 4, 5, 7])
def test_weights_of_a_node_batch_keep_the_mean(multiple):
    ids, labels = np.array([3, 1, 4, 0, 2]), np.array([0, 1, 0, 1, 1])
    batch = node_batch(ids, labels, {}, multiple=multiple)
    assert len(batch["inputs"]) % multiple == 0
    values = np.array([10.0, 20.0, 30.0, 40.0, 50.0])[batch["inputs"]]
    np.testing.assert_allclose(np.mean(values * batch.get("weight", 1)), 30)
    np.testing.assert_array_equal(batch["labels"], labels[batch["inputs"]])
    with pytest.raises(ValueError, match="at least 1"):
        node_batch(ids[:0], labels, {})
