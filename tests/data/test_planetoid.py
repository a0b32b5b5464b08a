"""Small Planetoid and LINQS datasets made here."""

import collections
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from jaxlearn.data import CorruptData, MissingData, load
from jaxlearn.data.planetoid import _PARTS, read_linqs, read_planetoid
from tests.data.conftest import put

KNOWN, TRAIN, HELD = 510, 6, [513, 511, 510]  # node 512 is in no file


def small():
    """The eight parts of a graph of 514 nodes, and its features and labels by node."""
    rng = np.random.default_rng(0)
    features = (rng.random((514, 5)) < 0.5).astype(np.float32)
    labels = rng.integers(0, 3, 514)
    features[512], labels[512] = 0, 0
    onehot = np.eye(3, dtype=np.int32)[labels]
    graph = collections.defaultdict(list, {node: [(node + 1) % 514] for node in range(514)})
    graph[3] += [3, 4, 4]  # a self loop and a repeated edge
    parts = {
        "x": sp.csr_matrix(features[:TRAIN]),
        "tx": sp.csr_matrix(features[HELD]),
        "allx": sp.csr_matrix(features[:KNOWN]),
        "y": onehot[:TRAIN],
        "ty": onehot[HELD],
        "ally": onehot[:KNOWN],
        "graph": graph,
    }
    return parts, features, labels


def write(folder, parts, test_index=None):
    for part, value in parts.items():
        put(folder, f"planetoid/ind.cora.{part}", pickle.dumps(value, 2))
    lines = "\n".join(map(str, HELD)) if test_index is None else test_index
    put(folder, "planetoid/ind.cora.test.index", lines.encode())
    return [folder / f"planetoid/ind.cora.{part}" for part in _PARTS]


def test_test_rows_go_to_their_nodes_and_gaps_stay_empty(root):
    parts, features, labels = small()
    write(root, parts)
    graph = load("cora")
    assert np.array_equal(graph.features, features)
    assert np.array_equal(graph.labels, labels)
    assert [ids.tolist() for ids in graph.split] == [
        list(range(6)),
        list(range(6, 506)),
        [510, 511, 513],
    ]
    assert len(graph.indices) == 2 * 514  # a ring
    assert sorted(graph.indices[graph.indptr[3] : graph.indptr[4]].tolist()) == [2, 4]


@pytest.mark.parametrize(
    "part, value",
    [
        ("allx", {"not": "a matrix"}),
        ("ally", np.zeros((KNOWN, 4), np.int32)),
        ("ty", np.zeros((2, 3), np.int32)),
        ("tx", sp.csr_matrix(np.zeros((3, 4), np.float32))),
        ("graph", {0: [1], 1: [0]}),
        ("graph", {node: [514] for node in range(514)}),
        ("graph", {node: [0.5] for node in range(514)}),
        ("graph", dict.fromkeys(range(514), 3)),
        ("y", np.zeros((20, 3), np.int32)),
    ],
)
def test_parts_that_do_not_fit(tmp_path, part, value):
    parts, _, _ = small()
    with pytest.raises(CorruptData):
        read_planetoid(write(tmp_path, {**parts, part: value}))


@pytest.mark.parametrize(
    "index", ["", "510\n510\n511", "a\nb\nc", "1\n2\n3", "99999999999", "-1\n510\n511"]
)
def test_damaged_test_index(tmp_path, index):
    parts, _, _ = small()
    with pytest.raises(CorruptData):
        read_planetoid(write(tmp_path, parts, index))


def test_a_part_that_is_nowhere_is_named(root):
    parts, _, _ = small()
    for path in write(root, parts):
        path.rename(path.with_name(path.name.replace("cora", "pubmed")))
    (root / "planetoid/ind.pubmed.allx").unlink()
    with pytest.raises(MissingData, match=r"ind\.pubmed\.allx is missing"):
        load("pubmed")


CONTENT = "p9\t1\t0\tB\np2\t0\t1\tA\np5\t1\t1\tB\n"
CITES = "p9\tp2\np2\tp9\np5\tp5\np5\tp2\nunknown\tp2\n"


def test_linqs_text(root):
    put(root, "cora/cora.content", CONTENT.encode())
    put(root, "cora/cora.cites", CITES.encode())
    graph = load("cora", row_normalize=True)
    assert graph.features.tolist() == [[1, 0], [0, 1], [0.5, 0.5]]
    assert graph.labels.tolist() == [1, 0, 1]
    assert graph.classes == ("A", "B")
    assert graph.indptr.tolist() == [0, 1, 3, 4]
    assert graph.indices.tolist() == [1, 0, 2, 1]
    assert graph.split is None
    assert "LINQS" in graph.source


@pytest.mark.parametrize(
    "content, cites",
    [
        ("", CITES),
        (CONTENT + "p9\t1\t1\tA\n", CITES),
        (CONTENT + "p7\t1\tA\n", CITES),
        (CONTENT.replace("0", "x"), CITES),
        (CONTENT.replace("0", "nan"), CITES),
        (CONTENT, "p9\n"),
        (CONTENT, "a\tb\n"),
        ("<html>\n", "<html>\n"),
    ],
)
def test_damaged_linqs_text(tmp_path, content, cites):
    paths = put(tmp_path, "a.content", content.encode()), put(tmp_path, "a.cites", cites.encode())
    with pytest.raises(CorruptData, match=r"a\.c"):
        read_linqs(*paths)


def test_unknown_layout():
    with pytest.raises(ValueError, match="layout='csv'"):
        load("cora", layout="csv")
