"""Spiking VGG-11."""

import jax
import numpy as np

from jaxlearn.core import stack
from jaxlearn.models.spiking_vgg import spiking_vgg11_blocks


def test_has_the_parameters_of_the_published_network():
    x = jax.ShapeDtypeStruct((1, 48, 48, 2), "float32")
    params, state = jax.eval_shape(stack(spiking_vgg11_blocks()).init, jax.random.key(0), x)
    total, before = 0, 2
    for width in (64, 128, 256, 256, 512, 512, 512, 512):
        total += 9 * before * width + width + 2 * width
        before = width
    total += 512 * 7 * 7 * 10 + 10
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == total
    assert len(jax.tree.leaves(state["sequence"])) == 8


def test_stages_average_spikes_over_two_by_two():
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 2)).astype(np.float32)
    shapes, values = [], []
    for block in spiking_vgg11_blocks(3, stages=((4,), (6, 6)), cells=2):

        @jax.jit
        def first(x, block=block):
            params, state = block.init(jax.random.key(1), x)
            return block.apply(params, {"batch_stats": state.get("batch_stats", {})}, x)[0]

        x = first(x)
        shapes.append(x.shape[1:])
        values.append(np.unique(x))
    assert shapes == [(4, 4, 4), (4, 4, 6), (2, 2, 6), (3,)]
    assert set(values[0]) <= {0, 0.25, 0.5, 0.75, 1}
    assert set(values[1]) <= {0, 1}
