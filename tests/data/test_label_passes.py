"""Passes: which class a node is shown with, and how it gets into features and edges."""

import jax
import numpy as np
import pytest

from jaxlearn.data.graphs import edges
from jaxlearn.data.label_passes import (
    appended_labels,
    judging_passes,
    pass_edges,
    training_passes,
    wrong_classes,
)
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes

GRAPH = planted_graph(60, 5, 30)
TRAIN, VALIDATION = np.arange(0, 60, 3), np.arange(1, 60, 3)


def test_identity_4_negatives_are_the_wrong_classes_each_once():
    labels = GRAPH.labels[TRAIN]
    passes = training_passes(GRAPH.labels, TRAIN, 5, seed=0)
    np.testing.assert_array_equal(passes.classes[:, 0], labels)
    np.testing.assert_array_equal(np.sort(passes.classes, 1), np.tile(np.arange(5), (20, 1)))


def test_negatives_are_drawn_once_and_in_all_orders():
    labels = np.zeros(4000, np.int32)
    first = wrong_classes(labels, 4, 0)
    np.testing.assert_array_equal(first, wrong_classes(labels, 4, 0))
    assert (first != wrong_classes(labels, 4, 1)).any()
    # 6 orders of 3 classes, each expected 667 times
    counts = np.unique(first @ [100, 10, 1], return_counts=True)[1]
    assert len(counts) == 6
    assert abs(counts - 4000 / 6).max() < 4 * np.sqrt(4000 / 6)


def test_fewer_negatives_are_the_first_of_all():
    every, few = (training_passes(GRAPH.labels, TRAIN, 5, 0, negatives=n) for n in (None, 2))
    np.testing.assert_array_equal(few.classes, every.classes[:, :3])
    many = training_passes(GRAPH.labels, TRAIN, 5, 0, negatives=100)
    np.testing.assert_array_equal(many.classes, every.classes)


def test_judging_claims_one_class_for_all_judged_nodes_and_looks_at_no_label_of_theirs():
    passes = judging_passes(GRAPH.labels, TRAIN, VALIDATION, 5)
    np.testing.assert_array_equal(passes.ids, np.concatenate([TRAIN, VALIDATION]))
    for c in range(5):
        np.testing.assert_array_equal(passes.classes[:20, c], GRAPH.labels[TRAIN])
        np.testing.assert_array_equal(passes.classes[20:, c], c)
    hidden = GRAPH.labels.copy()
    hidden[VALIDATION] = 0
    again = judging_passes(hidden, TRAIN, VALIDATION, 5)
    np.testing.assert_array_equal(again.classes, passes.classes)


def test_labels_are_appended_one_hot_or_uniform():
    passes = training_passes(GRAPH.labels, TRAIN, 5, seed=0)
    rows = appended_labels(passes, 60, 5)
    assert rows.shape == (60, 5, 5)
    np.testing.assert_allclose(rows.sum(-1), 1)
    np.testing.assert_array_equal(rows[TRAIN].argmax(-1), passes.classes)
    np.testing.assert_array_equal(rows[TRAIN].max(-1), 1)
    np.testing.assert_allclose(np.delete(rows, TRAIN, 0), 0.2)


def sorted_pairs(sources, targets):
    return sorted(zip(sources.tolist(), targets.tolist(), strict=True))


def test_the_positive_pass_has_the_edges_of_the_augmented_graph():
    passes = training_passes(GRAPH.labels, TRAIN, 5, seed=0)
    whole = augment_with_virtual_nodes(GRAPH, TRAIN, jax.random.key(0))
    assert sorted_pairs(*pass_edges(GRAPH, passes, 0)) == sorted_pairs(*edges(whole))


def test_negative_passes_move_only_the_edges_to_virtual_nodes():
    passes = training_passes(GRAPH.labels, TRAIN, 5, seed=0)
    for number in range(5):
        sources, targets = pass_edges(GRAPH, passes, number)
        real = (sources < 60) & (targets < 60)
        assert sorted_pairs(sources[real], targets[real]) == sorted_pairs(*edges(GRAPH))
        up = targets >= 60
        assert sorted(sources[up].tolist()) == TRAIN.tolist()
        np.testing.assert_array_equal(targets[up] - 60, passes.classes[:, number])
        assert sorted_pairs(sources[up], targets[up]) == sorted_pairs(
            targets[sources >= 60], sources[sources >= 60]
        )


def test_one_way_edges_never_leave_a_virtual_node():
    passes = training_passes(GRAPH.labels, TRAIN, 5, seed=0)
    sources, targets = pass_edges(GRAPH, passes, 1, one_way=True)
    assert sources.max() < 60
    assert (targets >= 60).sum() == len(TRAIN)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"labels span 0\.\.4, expected 0\.\.3"):
        wrong_classes(GRAPH.labels, 4, 0)
    with pytest.raises(ValueError, match="negatives=0"):
        training_passes(GRAPH.labels, TRAIN, 5, 0, negatives=0)
    with pytest.raises(ValueError, match="20 nodes are both labelled and judged"):
        judging_passes(GRAPH.labels, TRAIN, TRAIN, 5)
