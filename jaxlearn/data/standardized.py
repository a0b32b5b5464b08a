"""Features scaled by the statistics of the training part."""

import numpy as np

from jaxlearn.data.dataset import Arrays, Dataset


def standardized(dataset: Dataset) -> Dataset:
    """`(x - mean) / std` per last axis, with mean and std over the training part; float32.

    A feature that never changes becomes 0: its std counts as 1e-6 at least.
    """
    x = dataset.train["inputs"].astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, std = x.mean(axes), np.maximum(x.std(axes), 1e-6)

    def scaled(part: Arrays) -> Arrays:
        return {**part, "inputs": ((part["inputs"] - mean) / std).astype(np.float32)}

    return dataset._replace(
        train=scaled(dataset.train),
        validation=scaled(dataset.validation),
        test=scaled(dataset.test),
    )
