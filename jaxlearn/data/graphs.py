"""Graphs with node features and labels, and the npz files two benchmarks keep them in."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxlearn.data.errors import CorruptData
from jaxlearn.data.npz import read_npz
from jaxlearn.data.source import DataFile, find
from jaxlearn.data.splits import Split

CORA_ML = DataFile(
    paths=("cora-ml/cora_ml.npz", "cora_ml/cora_ml.npz", "cora_ml.npz"),
    homepage="https://github.com/gasteigerjo/ppnp",
    urls=("https://github.com/gasteigerjo/ppnp/raw/master/ppnp/data/cora_ml.npz",),
    sha256="e3439bfd32c4a962d5c56a4f313793baee39181c208c90a3915b61183d3e1cda",
)
AMAZON_PHOTO = DataFile(
    paths=("amazon-photo/amazon_electronics_photo.npz", "amazon_electronics_photo.npz"),
    homepage="https://github.com/shchur/gnn-benchmark",
)


class Graph(NamedTuple):
    """An undirected graph: N nodes with F features, E directed edges (each in both directions).

    The neighbours of node i are `indices[indptr[i]:indptr[i + 1]]`, sorted; no node is its own
    neighbour, none comes twice.

    Attributes:
        features: float32 [N, F].
        labels: int32 [N].
        indptr: int32 [N + 1].
        indices: int32 [E].
        classes: names by label.
        name: the dataset.
        source: which files it was read from.
        split: the division into nodes published with the files, where there is one.
    """

    features: np.ndarray
    labels: np.ndarray
    indptr: np.ndarray
    indices: np.ndarray
    classes: tuple[str, ...]
    name: str = ""
    source: str = ""
    split: Split | None = None


def adjacency(
    sources: np.ndarray, targets: np.ndarray, nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(indptr, indices), int32, of the undirected graph with these edges, in either direction.

    Self loops and repeated edges are dropped.

    >>> [part.tolist() for part in adjacency(np.array([0, 1, 2]), np.array([1, 0, 2]), 3)]
    [[0, 1, 2, 2], [1, 0]]
    """
    ends = np.concatenate([sources, targets]).astype(np.int64)
    others = np.concatenate([targets, sources]).astype(np.int64)
    if len(ends) and not (ends.min() >= 0 and ends.max() < nodes):
        raise CorruptData(f"an edge leads from {ends.min()} to {ends.max()} with {nodes} nodes")
    keys = np.unique((ends * nodes + others)[ends != others])
    indptr = np.zeros(nodes + 1, np.int32)
    np.cumsum(np.bincount(keys // max(nodes, 1), minlength=nodes), out=indptr[1:])
    return indptr, (keys % max(nodes, 1)).astype(np.int32)


def edges(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """The E directed edges as (sources, targets), int32, sorted by source, then target."""
    degrees = np.diff(graph.indptr)
    return np.repeat(np.arange(len(degrees), dtype=np.int32), degrees), graph.indices


def prepare(
    features: np.ndarray, *, binary: bool = False, row_normalize: bool = False
) -> np.ndarray:
    """Float32 features, as they are or first made 0/1 (x > 0), then divided by their row's sum.

    >>> prepare(np.array([[0.3, 0.0, 0.1], [0, 0, 0]]), binary=True, row_normalize=True).tolist()
    [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    features = np.asarray(features, np.float32)
    if binary:
        features = (features > 0).astype(np.float32)
    if row_normalize:
        features = features / np.maximum(features.sum(1, keepdims=True), np.float32(1e-12))
    return features


def cora_ml(*, binary: bool = False, row_normalize: bool = False) -> Graph:
    """CoraML (Bojchevski and Guennemann 2018): 2,995 papers, 16,316 directed edges, 7 classes.

    Features are tf-idf values of 2,879 words; `binary` turns them into 0/1.
    """
    graph = read_graph(find(CORA_ML), "adj_matrix.", "attr_matrix.", class_names="class_names")
    features = prepare(graph.features, binary=binary, row_normalize=row_normalize)
    return graph._replace(name="cora_ml", source="cora_ml.npz (ppnp)", features=features)


def amazon_photo(*, binary: bool = False, row_normalize: bool = False) -> Graph:
    """Amazon Photo (Shchur et al. 2018, arXiv 1811.05868): 7,650 products, 8 classes.

    There are 238,162 directed edges and 745 features of 0 and 1. The classes have no names in
    the file and are called by number.
    """
    graph = read_graph(find(AMAZON_PHOTO), "adj_", "attr_")
    features = prepare(graph.features, binary=binary, row_normalize=row_normalize)
    source = "amazon_electronics_photo.npz (gnn-benchmark)"
    return graph._replace(name="amazon_photo", source=source, features=features)


def read_graph(
    path: Path, adjacency_prefix: str, feature_prefix: str, class_names: str = ""
) -> Graph:
    """A graph out of an npz with labels and two CSR matrices.

    A matrix is four arrays called PREFIX + data, indices, indptr and shape. Only those arrays are
    read, whatever else the file holds. The edges are made undirected.
    """
    fields = ("data", "indices", "indptr", "shape")
    wanted = [prefix + field for prefix in (adjacency_prefix, feature_prefix) for field in fields]
    arrays = read_npz(path, [*wanted, "labels", *([class_names] if class_names else [])])
    rows, columns, _, (nodes, width) = csr_parts(arrays, adjacency_prefix, path.name)
    labels = arrays["labels"]
    if nodes != width or labels.shape != (nodes,) or labels.dtype.kind not in "iu":
        raise CorruptData(f"{path.name}: {nodes} x {width} adjacency, labels {labels.shape}")
    indptr, indices = adjacency(rows, columns, nodes)
    count = int(labels.max(initial=0)) + 1
    names = arrays[class_names] if class_names else np.arange(count).astype(str)
    if labels.min(initial=0) < 0 or names.ndim != 1 or count > len(names):
        raise CorruptData(
            f"{path.name}: labels {labels.min()} to {count - 1}, {len(names)} classes"
        )
    features = dense(csr_parts(arrays, feature_prefix, path.name), path.name)
    if len(features) != nodes:
        raise CorruptData(f"{path.name}: {nodes} nodes, features of {len(features)}")
    classes = tuple(str(name) for name in names)
    return Graph(features, labels.astype(np.int32), indptr, indices, classes)


Entries = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]


def csr_parts(arrays: dict[str, np.ndarray], prefix: str, name: str) -> Entries:
    """(rows, columns, values, shape) of a CSR matrix, or `CorruptData` if its parts do not fit."""
    keys = ("data", "indices", "indptr", "shape")
    data, indices, indptr, shape = (np.asarray(arrays[prefix + key]) for key in keys)
    integers = all(part.dtype.kind in "iu" for part in (indices, indptr, shape))
    if not integers or shape.shape != (2,) or shape.min() < 0 or data.dtype.kind not in "biuf":
        raise CorruptData(f"{name}: {prefix}* are not the parts of a CSR matrix of numbers")
    height, width = (int(size) for size in shape)
    fits = indptr.shape == (height + 1,) and data.shape == indices.shape == (len(indices),)
    if not fits or indptr[0] != 0 or indptr[-1] != len(indices):
        raise CorruptData(f"{name}: {prefix}indptr does not describe {height} rows")
    if (indptr[1:] < indptr[:-1]).any():
        raise CorruptData(f"{name}: {prefix}indptr does not rise")
    if len(indices) and not (indices.min() >= 0 and indices.max() < width):
        raise CorruptData(f"{name}: {prefix}indices lie outside 0..{width - 1}")
    rows = np.repeat(np.arange(height), np.diff(indptr.astype(np.int64)))
    return rows, indices.astype(np.int64), data, (height, width)


def dense(entries: Entries, name: str, limit: int = 1 << 28) -> np.ndarray:
    """The matrix as float32 [height, width]; `CorruptData` if it is not finite or over `limit`."""
    rows, columns, values, (height, width) = entries
    if height * width > limit:
        raise CorruptData(f"{name}: {height} x {width} features are too many to hold densely")
    matrix = np.zeros((height, width), np.float32)
    with np.errstate(over="ignore"):
        matrix[rows, columns] = values
    if not np.isfinite(matrix).all():
        raise CorruptData(f"{name}: features are not finite")
    return matrix
