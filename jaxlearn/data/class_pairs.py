"""Batches in which every example has a partner of its class."""

from typing import Any

import numpy as np

from jaxlearn.data.batches import Batches

PARTNER = "partner_inputs"


def with_partners(whole: Batches, arrays: dict[str, Any], *, seed: int) -> Batches:
    """Add `"partner_inputs"`: for each example the inputs of another one with the same label.

    Partners are drawn uniformly from all examples of the class, the example itself excepted, anew
    at every step and deterministically by (seed, step). The only example of a class is its own
    partner.

    Args:
        whole: batches of `arrays`, with `"index"`.
        arrays: `"inputs"` and `"labels"` of all examples.
        seed: of the draws.

    Example:
        >>> from jaxlearn.data.batches import batches
        >>> data = {"inputs": np.arange(4), "labels": np.array([0, 1, 0, 1])}
        >>> paired = with_partners(batches(data, 4, seed=0), data, seed=0)(0)
        >>> dict(zip(paired["inputs"].tolist(), paired["partner_inputs"].tolist(), strict=True))[0]
        2
    """
    labels = np.asarray(arrays["labels"])
    members = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    first = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[members] = np.arange(len(labels)) - first[labels[members]]

    def at(step: int) -> dict[str, Any]:
        batch = whole(step)
        index = np.asarray(batch["index"])
        own = labels[index]
        words = np.random.Philox(np.random.SeedSequence((seed, step, 1))).random_raw(len(index))
        # a distance of 1 .. n - 1 around the circle of the class never comes back to the example
        far = 1 + words % np.maximum(counts[own] - 1, 1).astype(np.uint64)
        place = (rank[index] + far.astype(np.int64)) % counts[own]
        return batch | {PARTNER: np.asarray(arrays["inputs"])[members[first[own] + place]]}

    return Batches(at, whole.batch_size, whole.steps_per_epoch)
