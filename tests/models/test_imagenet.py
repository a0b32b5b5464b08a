"""The ImageNet networks and AugLocal's heads on them, by shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.cifar_resnet import classifier, layer_widths
from jaxlearn.models.heads.copied_blocks import copied_blocks_head
from jaxlearn.models.heads.copied_convs import average_windows, copied_convs_head
from jaxlearn.models.imagenet_resnet import (
    RESNET34,
    RESNET101,
    RESNET152,
    WIDTHS,
    Bottleneck,
    imagenet_resnet,
)
from jaxlearn.models.imagenet_vgg import imagenet_vgg, vgg_classifier, vgg_widths
from jaxlearn.rules.auglocal import auglocal, pyramid

IMAGES = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
KEY = jax.random.key(0)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(layers):
    x, found = IMAGES, []
    for layer in layers:
        x = jax.eval_shape(lambda x, layer=layer: layer.apply(*layer.init(KEY, x), x)[0], x)
        found.append(x.shape[1:])
    return found


@pytest.mark.parametrize(("blocks", "bottleneck", "millions"), [
    (RESNET34, False, 21.80), (RESNET101, True, 44.55), (RESNET152, True, 60.19),
])  # fmt: skip
def test_resnets_have_the_published_sizes(blocks, bottleneck, millions):
    layers = imagenet_resnet(blocks, bottleneck=bottleneck)
    params, _ = jax.eval_shape(stack([*layers, classifier(1000)]).init, KEY, IMAGES)
    assert round(size(params) / 1e6, 2) == millions


def test_resnext_has_the_published_size():
    layers = imagenet_resnet(RESNET101, bottleneck=True, groups=32, base=8)
    params, _ = jax.eval_shape(stack([*layers, classifier(1000)]).init, KEY, IMAGES)
    assert round(size(params) / 1e6, 2) == 88.79
    with pytest.raises(ValueError, match=r"groups=32, base=64 need bottleneck=True"):
        imagenet_resnet(groups=32)


def test_a_block_in_groups_is_one_without_whose_kernel_is_block_diagonal():
    x = jax.random.normal(KEY, (2, 6, 6, 16))
    grouped, whole_block = Bottleneck(8, 2, groups=4, base=32), Bottleneck(8, 2, base=128)
    variables = grouped.init(jax.random.key(1), x)
    kernel = variables["params"]["Conv_1"]["kernel"]
    assert kernel.shape == (3, 3, 4, 16)
    whole = np.zeros((3, 3, 16, 16), np.float32)
    for i in range(4):
        own = slice(4 * i, 4 * i + 4)
        whole[:, :, own, own] = kernel[..., own]
    cut = {**variables["params"], "Conv_1": {"kernel": whole}}
    expected = whole_block.apply({**variables, "params": cut}, x)
    np.testing.assert_allclose(grouped.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_resnet34_halves_the_map_at_every_stage():
    found = shapes(imagenet_resnet())
    sides = [56] * 4 + [28] * 4 + [14] * 6 + [7] * 3
    widths = layer_widths(RESNET34, WIDTHS)
    assert found == [(side, side, width) for side, width in zip(sides, widths, strict=True)]
    assert len(layer_widths(RESNET101, WIDTHS)) == 34


def test_vgg13_has_the_published_layers_and_size():
    found = shapes(imagenet_vgg())
    sides = [side for side in (224, 112, 56, 28, 14) for _ in range(2)]
    assert found == [(side, side, width) for side, width in zip(sides, vgg_widths(), strict=True)]
    net = stack([*imagenet_vgg(), vgg_classifier()])
    params, _ = jax.eval_shape(net.init, KEY, IMAGES)
    assert round(size(params) / 1e6, 2) == 133.05


def rules():
    """Every layer isolated, depth 4 and no pyramid, at a few classes."""
    options = {"joint": 1, "tau": 0.0}
    widths = layer_widths((1, 1, 1), (4, 8, 16))
    net = imagenet_resnet((1, 1, 1), (4, 8, 16), bottleneck=True)
    blocks = lambda layer, chosen: copied_blocks_head(
        widths, layer, chosen, 3, block=Bottleneck, normalize=False
    )
    yield auglocal(net, classifier(3), 2, blocks, **options)
    widths = vgg_widths((1, 1, 2), (4, 8, 8))
    convs = lambda layer, chosen: copied_convs_head(widths, layer, chosen, 3, hidden=8)
    end = vgg_classifier(3, hidden=8, side=2)
    yield auglocal(imagenet_vgg((1, 1, 2), (4, 8, 8)), end, 2, convs, **options)


@pytest.mark.slow
def test_auglocal_isolates_every_layer_but_the_last():
    batch = {
        "inputs": jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32),
        "labels": jax.ShapeDtypeStruct((4,), jnp.int32),
    }
    for rule in rules():
        params, state = jax.eval_shape(rule.init, KEY, batch)
        assert sorted(params["heads"]) == ["0", "1", "2"]
        grads, _, metrics = jax.eval_shape(rule.signal, params, state, batch, KEY)
        shape = lambda leaf: leaf.shape
        assert jax.tree.map(shape, grads) == jax.tree.map(shape, params)
        assert "loss/3" in metrics
        out, _ = jax.eval_shape(rule.predict, params, state, batch)
        assert out.shape == (4, 3)


def test_depths_without_pyramid_or_joint_layers():
    assert pyramid(17, 4, 0.0, joint=1) == [4] * 16
    assert pyramid(34, 4, 0.0, joint=1) == [4] * 33
    with pytest.raises(ValueError, match=r"joint must lie in 1\.\.17 for 17 layers, found 0"):
        pyramid(17, 4, joint=0)


def test_vgg_heads_pool_where_the_width_changes():
    widths = vgg_widths()
    head = copied_convs_head(widths, 1, [3, 5, 7, 9], 1000)
    x = jax.ShapeDtypeStruct((2, 32, 32, 64), jnp.float32)
    params, _ = jax.eval_shape(head.init, KEY, x)
    convs = [(64, 128), (128, 256), (256, 512), (512, 512)]
    expected = sum(9 * a * b + 3 * b for a, b in convs)
    expected += 2 * (512 * 512 + 512 + 1024) + 513 * 1000
    assert size(params) == expected
    assert copied_convs_head(widths, 1, [3, 5, 7, 9], 1000) is head
    assert copied_convs_head(widths, 0, [3, 5, 7, 9], 1000) is head


def test_windows_average_neighbours():
    x = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    cells = [x[:, i * 7 // 3 : -(-(i + 1) * 7 // 3)].mean(1) for i in range(3)]
    np.testing.assert_allclose(average_windows(jnp.asarray(x), 3), np.stack(cells, 1), atol=1e-6)


def test_stages_without_widths_are_refused():
    with pytest.raises(ValueError, match="found 1 stages and 4 widths"):
        imagenet_resnet((3,))
    with pytest.raises(ValueError, match="found 1 stages and 5 widths"):
        imagenet_vgg((2,))
