"""Several seeds in one program, on one device and on several."""

from functools import cache

import jax
import numpy as np
import optax

from jaxlearn.core import make_state, make_step
from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit
from tests.devices import run_on

RULE, TX = backprop(tiny_stack(), cross_entropy), optax.adam(1e-2)
DRAWN = jax.jit(tiny_batch, static_argnums=0)
STREAMS = [lambda step, s=s: jax.device_get(DRAWN(16, 100 * s + step)) for s in (0, 1)]


@cache
def trained(mesh=None):
    states, step = over_seeds(RULE, lambda key: TX, (3, 4), STREAMS[0](0))
    return fit(step, states, stacked(STREAMS), steps=5, mesh=mesh, progress=False).state


def test_each_seed_is_trained_as_if_alone():
    states, step = trained(), jax.jit(make_step(RULE, TX))
    start = jax.jit(lambda key, batch: make_state(RULE, TX, key, batch))
    for i, seed in enumerate((3, 4)):
        key, _ = jax.random.split(jax.random.key(seed))
        state = start(key, STREAMS[i](0))
        for number in range(5):
            state, _ = step(state, STREAMS[i](number))
        near = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        jax.tree.map(near, seed_of(states, i).params, state.params)


def test_examples_are_on_axis_0_and_seeds_behind():
    both = stacked(STREAMS)(2)
    for i, stream in enumerate(STREAMS):
        own = jax.tree.map(lambda leaf, i=i: leaf[:, i], both)
        jax.tree.map(np.testing.assert_array_equal, own, stream(2))


def test_of_a_context_the_seeds_come_first():
    graph = lambda s: {"inputs": np.ones((4, 2)), "context": {"edges": np.full((3, 2), s)}}
    both = stacked([lambda step, s=s: graph(s) for s in range(2)])(0)
    assert both["inputs"].shape == (4, 2, 2)
    assert both["context"]["edges"].shape == (2, 3, 2)
    np.testing.assert_array_equal(both["context"]["edges"][1], 1)


SHARED = """
import jax, numpy as np
from tests.procedures.test_seeds import trained
from jaxlearn.runtime import every_device
assert every_device().shape["data"] == 4
leaves = jax.tree.leaves(jax.device_get(trained(every_device()).params))
np.savez(PATH, *leaves)
"""


def test_devices_share_the_batches_of_all_seeds(tmp_path):
    path = tmp_path / "four.npz"
    run_on(4, f"PATH = {str(path)!r}\n{SHARED}")
    with np.load(path) as found:
        leaves = [found[name] for name in found.files]
    for mine, theirs in zip(jax.tree.leaves(trained().params), leaves, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
