"""Adjacency and the npz graph files."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlearn.data import CorruptData, load
from jaxlearn.data.graphs import adjacency, edges, prepare, read_graph
from tests.data.conftest import put
from tests.data.test_npz import npz

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=30)


def example(**changes):
    """The arrays of a graph of 4 nodes, one edge stored in both directions and one in one."""
    a = sp.csr_matrix(
        np.array([[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]], np.float32)
    )
    x = sp.csr_matrix(np.array([[0.5, 0, 0.5], [0, 2, 0], [0, 0, 0], [1, 1, 1]], np.float32))
    arrays = {"labels": np.array([0, 1, 2, 1])}
    for prefix, m in (("adj_", a), ("attr_", x)):
        parts = {
            "data": m.data,
            "indices": m.indices,
            "indptr": m.indptr,
            "shape": np.array(m.shape),
        }
        arrays.update({prefix + key: value for key, value in parts.items()})
    return {**arrays, **changes}, x.toarray()


@given(PAIRS)
@settings(max_examples=100, deadline=None)
def test_adjacency_equals_the_dense_definition(pairs):
    dense = np.zeros((7, 7), bool)
    for a, b in pairs:
        dense[a, b] = dense[b, a] = a != b
    arcs = np.array(pairs, np.int64).reshape(-1, 2)
    indptr, indices = adjacency(arcs[:, 0], arcs[:, 1], 7)
    ours = sp.csr_matrix((np.ones(len(indices), bool), indices, indptr), shape=(7, 7))
    assert np.array_equal(ours.toarray(), dense)
    assert len(indices) == dense.sum()
    assert all((np.diff(indices[a:b]) > 0).all() for a, b in pairwise(indptr))
    assert indptr.dtype == indices.dtype == np.int32


def test_adjacency_of_no_edges_or_no_nodes():
    none = np.zeros(0, np.int64)
    assert adjacency(none, none, 3)[0].tolist() == [0, 0, 0, 0]
    assert adjacency(none, none, 0)[0].tolist() == [0]


def test_edges_outside_the_graph_are_refused():
    with pytest.raises(CorruptData, match="edge"):
        adjacency(np.array([0]), np.array([3]), 3)
    with pytest.raises(CorruptData, match="edge"):
        adjacency(np.array([-1]), np.array([0]), 3)


def test_reading_makes_the_graph_undirected(root):
    arrays, x = example()
    put(root, "amazon-photo/amazon_electronics_photo.npz", npz(**arrays))
    graph = load("amazon_photo")
    assert np.array_equal(graph.features, x)
    assert graph.labels.tolist() == [0, 1, 2, 1]
    assert graph.classes == ("0", "1", "2")
    sources, targets = edges(graph)
    assert list(zip(sources.tolist(), targets.tolist(), strict=True)) == [
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 1),
    ]


def test_cora_ml_layout_is_read_beside_pickled_entries(root):
    arrays, x = example()
    arrays = {
        key.replace("adj_", "adj_matrix.").replace("attr_", "attr_matrix."): v
        for key, v in arrays.items()
    }
    extra = {"class_names": np.array(["a", "b", "c"]), "metadata": np.array({1: 2}, object)}
    put(root, "cora-ml/cora_ml.npz", npz(**arrays, **extra))
    graph = load("cora_ml", binary=True)
    assert graph.classes == ("a", "b", "c")
    assert np.array_equal(graph.features, (x > 0).astype(np.float32))


def test_prepare_normalises_rows_and_leaves_empty_ones():
    x = prepare(np.array([[1.0, 3.0], [0.0, 0.0]]), row_normalize=True)
    assert x.tolist() == [[0.25, 0.75], [0.0, 0.0]]
    assert x.dtype == np.float32


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"labels": np.array([0, 1, 2])}, "labels"),
        ({"labels": np.array([0, 1, 2, -1])}, "labels"),
        ({"labels": np.array([0.0, 1, 2, 1])}, "labels"),
        ({"adj_indices": np.array([0, 1, 9, 3])}, "outside"),
        ({"adj_indptr": np.array([0, 1, 3, 3, 9])}, "rows"),
        ({"adj_indptr": np.array([0, 3, 1, 3, 4])}, "rise"),
        ({"adj_shape": np.array([4, 5])}, "4 x 5"),
        ({"adj_shape": np.array([4])}, "parts"),
        ({"attr_shape": np.array([10**9, 10**9])}, "rows"),
        ({"attr_shape": np.array([4, 10**12])}, "too many"),
        ({"attr_data": np.array([np.nan] * 6, np.float32)}, "finite"),
        ({"attr_data": np.array(["x"] * 6)}, "parts"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, changes, words):
    path = put(tmp_path, "a.npz", npz(**example(**changes)[0]))
    with pytest.raises(CorruptData, match=words):
        read_graph(path, "adj_", "attr_")
