"""Link splits: every edge once, negatives that are none, and no message along a hidden edge."""

import numpy as np
import pytest

from jaxlearn.data.graphs import edges
from jaxlearn.data.link_split import link_split, non_edges
from jaxlearn.data.planted_graph import planted_graph

GRAPH = planted_graph()
SPLIT = link_split(GRAPH, seed=0)


def keys(pairs) -> list[int]:
    return (np.sort(pairs, -1) @ [1000, 1]).tolist()


def of_graph() -> set[int]:
    return set(keys(np.stack(edges(GRAPH), axis=1)))


def test_every_edge_is_in_one_part():
    parts = [keys(part[:, 0]) for part in SPLIT[:3]]
    together = [key for part in parts for key in part]
    assert len(together) == len(set(together)) == len(edges(GRAPH)[0]) // 2
    assert set(together) == of_graph()
    count = len(together)
    assert [len(part) for part in parts[1:]] == [int(0.16 * count), int(0.2 * count)]


def test_negatives_are_different_pairs_without_an_edge():
    made_up = np.concatenate([part[:, 1] for part in SPLIT[:3]])
    assert len(set(keys(made_up))) == len(made_up)
    assert not set(keys(made_up)) & of_graph()
    assert (made_up[:, 0] != made_up[:, 1]).all()
    # uniform over nodes: the planted classes have no part in it
    same = GRAPH.labels[made_up[:, 0]] == GRAPH.labels[made_up[:, 1]]
    assert same.mean() < 0.45


def test_messages_pass_along_edges_that_are_known():
    for ends, parts in ((SPLIT.known, SPLIT[:1]), (SPLIT.known_at_test, SPLIT[:2])):
        shown = keys(np.concatenate([part[:, 0] for part in parts]))
        found = np.stack(ends, axis=1)
        assert sorted(keys(found)) == sorted(2 * shown)
        both = {tuple(pair) for pair in found.tolist()}
        assert both == {(b, a) for a, b in both}


def test_a_split_is_fixed_by_its_seed():
    again, other = link_split(GRAPH, seed=0), link_split(GRAPH, seed=1)
    for part, same, different in zip(SPLIT[:3], again[:3], other[:3], strict=True):
        np.testing.assert_array_equal(part, same)
        assert (part != different).any()


def test_nearly_complete_graphs_still_give_all_their_free_pairs():
    from jaxlearn.data.graphs import adjacency

    u, v = np.triu_indices(12, 1)
    free = np.array([3, 40, 65])
    indptr, indices = adjacency(np.delete(u, free), np.delete(v, free), 12)
    nearly = GRAPH._replace(labels=np.zeros(12, np.int32), indptr=indptr, indices=indices)
    found = non_edges(nearly, 3, 0)
    assert sorted(keys(found)) == sorted(keys(np.stack([u, v], 1)[free]))
    with pytest.raises(ValueError, match="4 pairs without an edge asked for, there are 3"):
        non_edges(nearly, 4, 0)


def test_empty_parts_are_refused():
    with pytest.raises(ValueError, match=r"test=0\.9 of .* edges leave a part empty"):
        link_split(GRAPH, 0, validation=0.2, test=0.9)
