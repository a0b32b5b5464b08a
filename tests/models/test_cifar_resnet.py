import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.cifar_resnet import (
    RESNET32,
    RESNET110,
    BasicBlock,
    Classifier,
    Stem,
    cifar_resnet,
    classifier,
    layer_widths,
)


def shapes_of(blocks):
    """Output shape of every layer, and the parameters of the whole network, without computing."""
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    net = stack([*cifar_resnet(blocks), classifier(10)])
    params, _ = jax.eval_shape(net.init, jax.random.key(0), images)
    x, found = images, []
    for layer in cifar_resnet(blocks):
        x = jax.eval_shape(lambda key, x, layer=layer: layer.apply(*layer.init(key, x), x)[0],
                           jax.random.key(0), x)  # fmt: skip
        found.append(x.shape)
    return found, sum(leaf.size for leaf in jax.tree.leaves(params))


def parameters_by_hand(n):
    """Convolutions and scale/shift pairs of He et al.'s network with projection shortcuts."""
    total = 3 * 9 * 16 + 2 * 16
    width = 16
    for stage in (16, 32, 64):
        for i in range(n):
            total += 9 * width * stage + 9 * stage * stage + 4 * stage
            total += width * stage + 2 * stage if i == 0 and width != stage else 0
            width = stage
    return total + 64 * 10 + 10


def test_resnet32_has_the_published_layers_and_size():
    found, size = shapes_of(RESNET32)
    widths = [16] * 6 + [32] * 5 + [64] * 5
    assert layer_widths(RESNET32) == widths
    assert found == [(2, 512 // width, 512 // width, width) for width in widths]
    assert size == parameters_by_hand(5)
    assert round(size / 1e6, 2) == 0.47


def test_resnet110_has_55_layers():
    assert len(cifar_resnet(RESNET110)) == 55
    assert layer_widths(RESNET110) == [16] * 19 + [32] * 18 + [64] * 18


def conv_by_hand(x, kernel, stride):
    size, pad = kernel.shape[0], kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = (x.shape[1] - size) // stride + 1
    y = np.zeros((x.shape[0], out, out, kernel.shape[-1]))
    for i in range(out):
        for j in range(out):
            patch = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.einsum("bhwc,hwcd->bd", patch, kernel)
    return y


def norm_by_hand(x):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "width"), [(1, 3), (2, 5)])
def test_basic_block_against_loops_in_float64(stride, width):
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 3))
    block = BasicBlock(width, stride)
    variables = block.init(jax.random.key(0), jnp.asarray(x, jnp.float32))
    kernels = [np.asarray(variables["params"][f"Conv_{i}"]["kernel"]) for i in range(2)]
    y = np.maximum(norm_by_hand(conv_by_hand(x, kernels[0], stride)), 0)
    y = norm_by_hand(conv_by_hand(y, kernels[1], 1))
    if width != 3:
        shortcut = np.asarray(variables["params"]["Conv_2"]["kernel"])
        x_short = norm_by_hand(conv_by_hand(x, shortcut, stride))
    else:
        x_short = x
    expected = np.maximum(x_short + y, 0)
    found, _ = block.apply(variables, jnp.asarray(x, jnp.float32), True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_initial_weights_have_the_published_spread():
    kernel = Stem(64).init(jax.random.key(0), jnp.ones((1, 4, 4, 64)))["params"]["Conv_0"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert abs(float(kernel.mean())) < 1e-3


def test_classifier_is_linear_in_the_average_and_starts_within_its_bound():
    x = jax.random.normal(jax.random.key(1), (3, 2, 2, 16))
    variables = Classifier(5).init(jax.random.key(0), x)
    dense = variables["params"]["Dense_0"]
    expected = np.asarray(x, np.float64).mean((1, 2)) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(Classifier(5).apply(variables, x), expected, atol=1e-5)
    assert float(jnp.abs(dense["kernel"]).max()) <= 0.25
    assert float(jnp.abs(dense["kernel"]).max()) > 0.2


def test_stages_without_widths_are_refused():
    with pytest.raises(ValueError, match="found 3 stages and 2 widths"):
        cifar_resnet((1, 1, 1), (16, 32))
