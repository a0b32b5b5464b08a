"""Sizes of the shallow networks, and where they pool."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.recurrent import recurrent
from jaxlearn.models.shallow_blocks import VGG11, conv_blocks, dense_blocks, max_pool


def sizes(blocks, readout, x):
    params = jax.eval_shape(lambda x: stack([*blocks, readout]).init(jax.random.key(0), x)[0], x)
    return [leaf.shape for leaf in jax.tree.leaves(params) if leaf.ndim > 1]


def test_published_networks_have_their_published_weights():
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    assert sizes(*dense_blocks(), image) == [(784, 1000), (1000, 10)]
    found = sizes(*conv_blocks(), image)
    assert found == [(5, 5, 1, 32), (14 * 14 * 32, 1000), (1000, 10)]
    colour = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    deep = sizes(*conv_blocks(10, VGG11, (), size=3), colour)
    assert len(deep) == 9
    assert deep[-1] == (512, 10)


def test_pooling_takes_maxima_of_windows():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    wanted = np.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(0)
    np.testing.assert_array_equal(max_pool(x, 2), wanted)


def test_windows_that_do_not_divide_the_map_are_refused():
    for shape in ((1, 3, 4, 1), (1, 4, 3, 1)):
        with pytest.raises(ValueError, match="windows of 2 x 2 do not divide a map of"):
            max_pool(np.zeros(shape), 2)


def test_unknown_cells_are_refused():
    with pytest.raises(ValueError, match="unknown cell 'elman'"):
        recurrent(4, "elman")
