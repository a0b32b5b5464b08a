"""Heads against their published layers written out, strides and pooling by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxlearn.models.cifar_resnet import RESNET32, layer_widths
from jaxlearn.models.heads.copied_blocks import copied_blocks_head
from jaxlearn.models.heads.dgl import dgl_head
from jaxlearn.models.heads.infopro import infopro_head

KEY = jax.random.key(0)
WIDTHS = layer_widths(RESNET32)


def drawn(head, shape):
    """Inputs, parameters away from their start (scales of 1 hide mistakes), and the state."""
    x = jax.random.normal(jax.random.key(1), shape)
    params, state = jax.jit(head.init)(KEY, x)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    moved = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return x, structure.unflatten(moved), state


def trained(head, params, state, x):
    return jax.jit(lambda p: head.apply(p, state, x, train=True)[0])(params)


def conv(x, p, stride=1):
    """Padded so that stride 1 keeps the side."""
    kernel = p["kernel"]
    pad = [(kernel.shape[0] // 2,) * 2] * 2
    names = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, pad, dimension_numbers=names)
    return y + p.get("bias", 0)


def norm(x, p):
    """By the statistics of the batch."""
    (p,) = jax.tree.leaves(p, is_leaf=lambda d: "scale" in d)
    axes = tuple(range(x.ndim - 1))
    centred = x - x.mean(axes)
    return centred / jnp.sqrt((centred**2).mean(axes) + 1e-5) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0)


def cells(x, size):
    """Means over the windows of adaptive pooling."""
    side = x.shape[1]
    edges = [(i * side // size, -(-(i + 1) * side // size)) for i in range(size)]
    return jnp.stack(
        [jnp.stack([x[:, a:b, c:d].mean((1, 2)) for c, d in edges], 1) for a, b in edges], 1
    )


def block(x, p, stride):
    y = jax.nn.relu(norm(conv(x, p["Conv_0"], stride), p["BatchNorm_0"]))
    y = norm(conv(y, p["Conv_1"]), p["BatchNorm_1"])
    if "Conv_2" in p:
        x = norm(conv(x, p["Conv_2"], stride), p["BatchNorm_2"])
    return jax.nn.relu(x + y)


# layer, copied layers, strides as published, and sides of the maps from 32
COPIES = [
    (0, [15], [2], [16]),
    (0, [8, 15], [2, 2], [16, 8]),
    (4, [8, 11, 15], [2, 2, 1], [16, 8, 8]),
    (6, [15], [2], [16]),
    (0, [15, 15], [2, 2], [16, 8]),
    (12, [14, 15], [1, 1], [32, 32]),
]


@pytest.mark.parametrize(("layer", "selected", "strides", "sides"), COPIES)
def test_copied_blocks_halve_the_map_where_they_owe_it(layer, selected, strides, sides):
    head = copied_blocks_head(WIDTHS, layer, selected, 10)
    assert sides_of("BasicBlock", head, (2, 32, 32, WIDTHS[layer])) == sides
    x, params, state = drawn(head, (4, 8, 8, WIDTHS[layer]))
    y = x
    for i, stride in enumerate(strides):
        y = block(y, params[f"BasicBlock_{i}"], stride)
    y = y.mean((1, 2))
    if len(strides) == 1:
        expected = linear(norm(y, params["BatchNorm_0"]), params["Dense_0"])
    else:
        expected = linear(y, params["Classifier_0"]["Dense_0"])
    np.testing.assert_allclose(trained(head, params, state, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("width", "stride", "convolutions"), [(16, 2, 2), (32, 2, 1), (64, 1, 2)])
def test_the_convolutional_classifier_halves_the_map_until_it_is_widest(
    width, stride, convolutions
):
    head = infopro_head(8, 10, convolutions=convolutions)
    x, params, state = drawn(head, (4, 8, 8, width))
    own, y = params["features"], x
    for i in range(convolutions):
        y = conv(y, own[f"Conv_{i}"], stride if i == 0 else 1)
        y = jax.nn.relu(norm(y, own[f"BatchNorm_{i}"]))
        assert y.shape[1:] == (8 // stride, 8 // stride, min(2 * width, 64))
    y = jax.nn.relu(linear(y.mean((1, 2)), own["Dense_0"]))
    expected = linear(y, own["Dense_1"])
    found = trained(head, params, state, x)["features"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_decoder_is_two_convolutions_on_the_enlarged_map():
    head = infopro_head(8, 10)
    x, params, state = drawn(head, (4, 4, 4, 16))
    own, place = params["image"], np.linspace(0, 3, 8)
    weights = jnp.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(4))), jnp.float32)
    large = jnp.einsum("ih,bhwc,jw->bijc", weights, x, weights)
    y = jax.nn.relu(norm(conv(large, own["Conv_0"]), own["BatchNorm_0"]))
    expected = conv(y, own["Conv_1"])
    found = trained(head, params, state, x)["image"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "first"), [(32, 8), (16, 4), (8, 2), (5, 2)])
def test_the_dgl_head_pools_to_a_quarter_and_then_to_two(side, first):
    head = dgl_head(3)
    x, params, state = drawn(head, (4, side, side, 4))
    y = cells(x, first)
    for i in range(3):
        y = jax.nn.relu(norm(conv(y, params[f"Conv_{i}"]), params[f"BatchNorm_{i}"]))
    y = cells(y, 2).reshape(4, -1)
    for i in range(2):
        y = jax.nn.relu(norm(linear(y, params[f"Dense_{i}"]), params[f"BatchNorm_{3 + i}"]))
    expected = linear(y, params["Dense_2"])
    np.testing.assert_allclose(trained(head, params, state, x), expected, rtol=1e-4, atol=1e-4)


def sides_of(kind, head, shape):
    """The sides of the maps that modules of a kind give, in order."""
    found = []

    def note(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if type(context.module).__name__ == kind and context.method_name == "__call__":
            found.append(y.shape[1])
        return y

    with linen.intercept_methods(note):
        # a function of its own: an equal head that was traced before would be taken from a cache
        jax.eval_shape(lambda x: head.init(KEY, x), jax.ShapeDtypeStruct(shape, jnp.float32))
    return found
