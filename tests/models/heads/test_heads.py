import jax
import jax.numpy as jnp
import pytest

from jaxlearn.models.cifar_resnet import RESNET32, layer_widths
from jaxlearn.models.heads.copied_blocks import copied_blocks_head, head_plan
from jaxlearn.models.heads.dgl import dgl_head

RESNET32_WIDTHS = layer_widths(RESNET32)

PLANS = [
    (0, [15], [(15, 16, 64, 2)]),
    (0, [8, 15], [(8, 16, 32, 2), (15, 32, 64, 2)]),
    (4, [8, 11, 15], [(8, 16, 32, 2), (11, 32, 64, 2), (15, 64, 64, 1)]),
    (6, [15], [(15, 32, 64, 2)]),
    (0, [15, 15], [(15, 16, 64, 2), (15, 64, 64, 2)]),
]


@pytest.mark.parametrize(("layer", "selected", "expected"), PLANS)
def test_identity_2_head_fixtures(layer, selected, expected):
    assert [tuple(block) for block in head_plan(RESNET32_WIDTHS, layer, selected)] == expected


def variables(head, shape):
    return jax.eval_shape(head.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_a_single_block_head_normalises_its_features():
    params, state = variables(copied_blocks_head(RESNET32_WIDTHS, 0, [15], 10), (2, 32, 32, 16))
    block = 9 * 16 * 64 + 9 * 64 * 64 + 16 * 64 + 6 * 64
    assert size(params) == block + 2 * 64 + 650
    deep, _ = variables(copied_blocks_head(RESNET32_WIDTHS, 0, [14, 15], 10), (2, 32, 32, 16))
    assert size(deep) == block + 2 * 9 * 64 * 64 + 64 * 64 + 6 * 64 + 650
    assert size(state) == 2 * (3 * 64 + 64)


def test_equal_heads_are_one_model():
    first = copied_blocks_head(RESNET32_WIDTHS, 1, [8, 15], 10)
    assert copied_blocks_head(RESNET32_WIDTHS, 2, [9, 15], 10) is first
    assert copied_blocks_head(RESNET32_WIDTHS, 5, [10, 15], 10) is first
    assert copied_blocks_head(RESNET32_WIDTHS, 6, [10, 15], 10) is not first
    assert copied_blocks_head(RESNET32_WIDTHS, 7, [11, 15], 10) is not first


@pytest.mark.parametrize(("side", "width"), [(32, 16), (8, 64), (5, 4)])
def test_dgl_head_has_the_published_layers(side, width):
    head = dgl_head(10)
    params, _ = variables(head, (2, side, side, width))
    convolutions = 3 * (width * width + 2 * width)
    linears = 2 * (16 * width * width + 8 * width) + 40 * width + 10
    assert size(params) == convolutions + linears
    out = jax.eval_shape(
        lambda key, x: head.apply(*head.init(key, x), x, train=True)[0],
        jax.random.key(0),
        jnp.zeros((2, side, side, width)),
    )
    assert out.shape == (2, 10)
