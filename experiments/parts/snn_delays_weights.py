"""What is read from the weights and delays of a trained network."""

import jax
import numpy as np

from jaxlearn.core import PyTree


def parameters(params: PyTree) -> int:
    """How many there are; a synapse that is masked counts neither as a weight nor as a delay."""
    total = 0
    for path, leaf in jax.tree.leaves_with_path(params):
        *above, name = (key.key for key in path)
        if name not in ("kernel", "position"):
            total += leaf.size
            continue
        kernel = params
        for key in [*above, "kernel"]:
            kernel = kernel[key]
        total += int(np.count_nonzero(kernel))
    return total


def moved(start: PyTree, end: PyTree) -> float:
    """The mean distance between first and last positions, in steps."""
    far = [
        np.abs(np.asarray(a) - np.asarray(b)).ravel()
        for (path, a), b in zip(jax.tree.leaves_with_path(start), jax.tree.leaves(end), strict=True)
        if "position" in str(path[-1])
    ]
    return float(np.concatenate(far).mean())


def at_the_ends(params: PyTree, length: int) -> float:
    """The share of delays within half a step of the shortest or the longest, of live synapses."""
    near = []
    for path, position in jax.tree.leaves_with_path(params):
        if path[-1].key == "position":
            layer = params
            for key in path[:-1]:
                layer = layer[key.key]
            live = np.asarray(layer["kernel"]) != 0
            near.append(np.abs(np.asarray(position)[live]) > length // 2 - 0.5)
    return float(np.concatenate(near).mean())
