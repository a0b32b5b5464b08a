"""Datasets, batches and augmentation.

`load(name)` reads a dataset (`names()` lists them); `batches.batches` turns arrays into the
deterministic stream the training loop asks for; `augment` has random image transformations in JAX.
"""

from jaxlearn.data.dataset import Dataset
from jaxlearn.data.errors import CorruptData, MissingData
from jaxlearn.data.graphs import Graph
from jaxlearn.data.registry import load, names

__all__ = ["CorruptData", "Dataset", "Graph", "MissingData", "load", "names"]
