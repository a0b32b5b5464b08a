"""Trains rules for ten steps on the devices it is given and saves the weights.

python -m tests.pod.worker OUT SOME|ALL [COORDINATOR PROCESSES INDEX]

SOME takes one rule of each engine; ALL takes all examples.
"""

import os
import sys
from functools import cache

import jax

STEPS, BATCH = 10, 32
SOME = {
    "auglocal-1": "local losses, with batch statistics",
    "weight-noise": "noise that all devices share",
}
"""What is new in each; backpropagation is trained below, with regrowth."""


def flat(tree):
    """All leaves of a tree as one vector in double precision."""
    import numpy as np

    return np.concatenate(
        [np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)]
    )


@cache
def drawn(number):
    """The batch of a step, in the host's memory."""
    from jaxlearn.models.tiny import tiny_batch

    return jax.device_get(jax.jit(tiny_batch, static_argnums=0)(BATCH, number))


def trained(rule, tx, mesh):
    """The state after `STEPS` steps on fresh batches, each process bringing its own rows."""
    from jaxlearn.core import make_state, make_step, trees
    from jaxlearn.runtime import data_parallel, distribute, make_sharded, place

    rows = BATCH // jax.process_count()
    own = slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)
    whole = drawn(0)
    make = jax.jit(lambda key: make_state(rule, tx, key, whole))
    if "model" in mesh.shape:  # arrays of any size are cut
        state = make_sharded(lambda: make(jax.random.key(0)), mesh, smallest=1)
        assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(state.params))
    else:
        state = distribute(make(jax.random.key(0)), mesh)
    step = data_parallel(make_step(rule, tx), mesh)
    for number in range(STEPS):
        batch = trees.over_examples(lambda leaf: leaf[own], drawn(number))
        state, _ = step(state, place(batch, mesh))
    if "model" in mesh.shape:
        assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(state.params))
    return state


def run(path, which):
    """Train the rules under SGD, and one with random regrowth, and save their weights."""
    import numpy as np
    import optax

    from jaxlearn import rules, transforms
    from jaxlearn.runtime import data_mesh, every_device
    from jaxlearn.transforms.sparsity import masks
    from tests.batteries.rooms import examples

    mesh, results = every_device() or data_mesh(), {}
    every, regrowing = examples(rules), examples(transforms)["granet-0.5"]
    for name in every if which == "ALL" else SOME:
        state = trained(every[name], optax.sgd(0.1, momentum=0.9), mesh)
        results[f"rule {name}"] = flat((state.params, state.state))
    regrown = trained(every["backprop"], regrowing, mesh)
    results["transform granet-0.5"] = flat((regrown.params, masks(regrown.opt_state)))
    if jax.process_index() == 0:
        np.savez(path, **results)


if __name__ == "__main__":
    path, which, *cluster = sys.argv[1:]
    if cluster:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(cluster[0], int(cluster[1]), int(cluster[2]))
    assert os.environ.get("JAX_PLATFORMS") == "cpu"
    run(path, which)
