"""The networks of the pruning papers have the numbers of weights that the papers give."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.lenet import lenet_300_100
from jaxlearn.models.resnet50 import resnet50
from jaxlearn.models.vgg import VGG16, vgg


def weights(model, shape):
    """Sizes of all weight matrices and filters, without computing any."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return [leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim in (2, 4)]


def conv_weights(channels):
    """Filters of a chain of convolutions."""
    return sum(9 * a * b for a, b in pairwise(channels))


def bottlenecks(blocks, width, wide):
    """Weights of the stages of bottleneck blocks, projection shortcuts included."""
    total = 0
    for stage, count in enumerate(blocks):
        inner = width * 2**stage
        for i in range(count):
            total += wide * inner + 9 * inner * inner + inner * 4 * inner
            total += wide * 4 * inner if i == 0 else 0
            wide = 4 * inner
    return total


def test_lenet_has_266200_weights():
    assert sorted(weights(lenet_300_100(), (28, 28, 1))) == [1_000, 30_000, 235_200]


@pytest.mark.parametrize(("model", "convolutions"), [(vgg(), 16), (vgg(VGG16), 13)])
def test_vgg_is_its_convolutions_and_one_linear_layer(model, convolutions):
    sizes = weights(model, (32, 32, 3))
    deep = [512] * (8 if convolutions == 16 else 6)
    third = [256] * (4 if convolutions == 16 else 3)
    channels = [3, 64, 64, 128, 128, *third, *deep]
    assert len(sizes) == convolutions + 1
    assert sum(sizes) == conv_weights(channels) + 5120


def test_resnet50_is_its_bottleneck_blocks():
    sizes = weights(resnet50(), (32, 32, 3))
    assert len(sizes) == 1 + 3 * 16 + 4 + 1
    assert sum(sizes) == 27 * 64 + bottlenecks((3, 4, 6, 3), 64, 64) + 20_480


@pytest.mark.parametrize(
    "model", [vgg((4, "pool", 6)), resnet50((1, 1), width=4)], ids=["vgg", "resnet50"]
)
def test_training_moves_the_statistics_and_evaluation_does_not(model):
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    params, state = jax.jit(model.init)(jax.random.key(0), x)
    y, trained = jax.jit(lambda p, s: model.apply(p, s, x, train=True))(params, state)
    _, kept = jax.jit(lambda p, s: model.apply(p, s, x))(params, state)
    jax.tree.map(np.testing.assert_array_equal, state, kept)
    pairs = zip(jax.tree.leaves(state), jax.tree.leaves(trained), strict=True)
    assert all(not np.array_equal(a, b) for a, b in pairs)
    assert y.shape == (4, 10)


def test_resnet50_halves_the_image_three_times():
    model = resnet50((1, 1, 1, 1), width=2)
    params, state = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    hlo = jax.jit(model.apply).lower(
        params, state, jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    )
    assert "tensor<1x4x4x64xf32>" in hlo.as_text()
    assert "tensor<1x2x2x" not in hlo.as_text()
