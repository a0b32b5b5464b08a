"""Cora, CiteSeer and PubMed (Sen et al. 2008) with the public split of Planetoid
(Yang et al. 2016, arXiv 1603.08861), from either of the two forms they are handed out in.
"""

from pathlib import Path

import numpy as np

from jaxlearn.data.array_pickle import read_array_pickle
from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.graphs import Graph, adjacency, prepare
from jaxlearn.data.source import DataFile, find, local
from jaxlearn.data.splits import Split

_PLANETOID = "https://github.com/kimiyoung/planetoid"
_LINQS = "https://linqs.org/datasets"
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
_SHA = {
    "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
    "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
    "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
    "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
    "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
    "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
    "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
    "ind.citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
    "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
    "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
    "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
    "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
    "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
    "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
    "ind.pubmed.x": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
    "ind.pubmed.tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
    "ind.pubmed.y": "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
    "ind.pubmed.ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
    "ind.pubmed.ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
    "ind.pubmed.graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
    "ind.pubmed.test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
}


def planetoid(
    name: str, *, layout: str | None = None, binary: bool = False, row_normalize: bool = False
) -> Graph:
    """The citation graph `name`: "cora", "citeseer" or "pubmed".

    `layout` is "planetoid" (`ind.NAME.*`, with the public split: 20 training nodes per class, 500
    for validation, 1,000 for test), "linqs" (`NAME.content` and `NAME.cites`, without a split), or
    None for the first that is there.
    """
    if layout not in (None, "planetoid", "linqs"):
        raise ValueError(f'layout={layout!r}; it is "planetoid", "linqs" or None')
    linqs = linqs_files(name)
    if layout is None:
        layout = (
            "linqs" if not local(_file(name, "graph")) and all(map(local, linqs)) else "planetoid"
        )
    if layout == "linqs":
        graph = read_linqs(*(find(file) for file in linqs))
    else:
        files = [_file(name, part) for part in _PARTS]
        absent = [f for f in files if not f.urls and local(f) is None]
        if absent:  # before anything is downloaded for nothing
            find(absent[0])
        graph = read_planetoid([find(file) for file in files])
    features = prepare(graph.features, binary=binary, row_normalize=row_normalize)
    return graph._replace(name=name, features=features)


def _file(name: str, part: str) -> DataFile:
    stem = f"ind.{name}.{part}"
    sha = _SHA.get(stem)
    urls = (f"{_PLANETOID}/raw/master/data/{stem}",) if sha else ()
    return DataFile((f"planetoid/{stem}", f"{name}/{stem}"), _PLANETOID, urls, sha)


def linqs_files(name: str) -> tuple[DataFile, DataFile]:
    """NAME.content and NAME.cites."""
    return (
        DataFile((f"{name}/{name}.content", f"linqs/{name}.content"), _LINQS),
        DataFile((f"{name}/{name}.cites", f"linqs/{name}.cites"), _LINQS),
    )


def read_planetoid(paths: list[Path]) -> Graph:
    """A graph out of the files x, tx, allx, y, ty, ally, graph and test.index, in that order.

    Rows of `tx` belong to the nodes listed in test.index, in its order. Where the list has gaps
    (CiteSeer: 15 nodes without features or label) the node gets zero features and class 0; such
    nodes are in no part of the split.
    """
    where = paths[-2].name.removesuffix(".graph")
    with parsing(where):
        read = {part: path.read_bytes() for part, path in zip(_PARTS, paths, strict=True)}
    held = _test_ids(read["test.index"], paths[-1].name)
    content = {
        part: read_array_pickle(read[part], path.name)
        for part, path in zip(_PARTS[:-1], paths[:-1], strict=True)
    }
    with parsing(where):
        known = content["allx"].shape[0]
        nodes = max(known, int(held.max()) + 1)
        if held.min() < known or len(content["y"]) + 500 > known:
            raise CorruptData(f"{where}: test nodes {held.min()}.. overlap the {known} others")
        features = _fill(content["allx"].toarray(), content["tx"].toarray(), held, nodes)
        onehot = _fill(content["ally"], content["ty"], held, nodes)
        indptr, indices = adjacency(*_arcs(content["graph"], nodes, where), nodes)
    train = np.arange(len(content["y"]))
    split = Split(train, np.arange(len(train), len(train) + 500), np.sort(held))
    classes = tuple(str(i) for i in range(onehot.shape[1]))
    labels = onehot.argmax(1).astype(np.int32)
    return Graph(features, labels, indptr, indices, classes, "", "Planetoid ind.* files", split)


def _test_ids(data: bytes, name: str) -> np.ndarray:
    with parsing(name):
        ids = np.array([int(line) for line in data.decode("ascii").split()], np.int64)
        if not len(ids) or len(np.unique(ids)) != len(ids) or ids.max() > 10_000_000:
            raise CorruptData(f"{name} is not a list of different nodes")
        return ids


def _fill(first: np.ndarray, last: np.ndarray, places: np.ndarray, nodes: int) -> np.ndarray:
    """Rows `first` on top, rows `last` at `places`, zeros between."""
    if (
        first.shape[1] != last.shape[1]
        or len(last) != len(places)
        or nodes * first.shape[1] > 1 << 28
    ):
        raise CorruptData(f"{first.shape} and {last.shape} do not fit {len(places)} test nodes")
    rows = np.zeros((nodes, first.shape[1]), np.float32)
    rows[: len(first)], rows[places] = first, last
    return rows


def _arcs(graph: dict, nodes: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(sources, targets) of a dict node -> list of neighbours."""
    if sorted(graph) != list(range(nodes)):
        raise CorruptData(f"{name}: the graph lists {len(graph)} nodes, not 0 to {nodes - 1}")
    sources = np.repeat(np.arange(nodes), [len(graph[node]) for node in range(nodes)])
    targets = [other for node in range(nodes) for other in graph[node]]
    if not set(map(type, targets)) <= {int}:
        raise CorruptData(f"{name}: a neighbour is not a number")
    return sources, np.array(targets, np.int64)


def read_linqs(content: Path, cites: Path) -> Graph:
    """A graph out of lines `id features... class` and lines `cited citing`, separated by tabs.

    Nodes are in the order of the file, classes sorted by name. Citations of papers that have no
    line of their own are dropped.
    """
    with parsing(content.name):
        lines = [line.split() for line in content.read_text("utf-8").splitlines() if line.strip()]
        ids = {line[0]: i for i, line in enumerate(lines)}
        if len(ids) != len(lines) or len({len(line) for line in lines}) != 1 or len(lines[0]) < 3:
            raise CorruptData(f"{content.name}: lines differ in length or share an id")
        features = np.array([line[1:-1] for line in lines], np.float32)
        if not np.isfinite(features).all():
            raise CorruptData(f"{content.name}: features are not finite")
    classes = sorted({line[-1] for line in lines})
    labels = np.array([classes.index(line[-1]) for line in lines], np.int32)
    with parsing(cites.name):
        pairs = [line.split() for line in cites.read_text("utf-8").splitlines() if line.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise CorruptData(f"{cites.name}: a line does not have two ids")
    known = [(ids[a], ids[b]) for a, b in pairs if a in ids and b in ids]
    if pairs and not known:
        raise CorruptData(f"{cites.name}: none of its ids is in {content.name}")
    arcs = np.array(known, np.int64).reshape(-1, 2)
    indptr, indices = adjacency(arcs[:, 0], arcs[:, 1], len(lines))
    return Graph(features, labels, indptr, indices, tuple(classes), "", "LINQS text files")
