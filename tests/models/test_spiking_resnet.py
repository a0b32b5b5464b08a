import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import from_linen, stack
from jaxlearn.models.spiking_resnet import ResidualBlock, spiking_resnet18_blocks

X = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_has_the_parameters_of_the_published_network():
    def conv(a, b, size=3, bias=1):
        return size * size * a * b + bias * b

    total, before = conv(3, 64, bias=0), 64
    for width in (64, 128, 256, 512):
        for i in range(2):
            total += 2 * before + conv(before, width) + 2 * width + conv(width, width)
            total += conv(before, width, 1) if i == 0 and width > 64 else 0
            before = width
    total += 2 * 512 + 512 * 10 + 10
    params, _ = jax.eval_shape(stack(spiking_resnet18_blocks()).init, jax.random.key(0), X)
    assert count(params) == total


def test_stages_halve_the_image_and_double_the_channels():
    shapes, x = [], jax.ShapeDtypeStruct(X.shape, X.dtype)
    for block in spiking_resnet18_blocks(width=4):
        params, state = jax.eval_shape(block.init, jax.random.key(0), x)
        x, _ = jax.eval_shape(block.apply, params, state, x)
        shapes.append(x.shape[1:])
    assert shapes[1::2] == [(32, 32, 4), (16, 16, 8), (8, 8, 16), (4, 4, 32), (10,)]


def test_the_shortcut_carries_the_spikes_not_the_input():
    """With both convolutions at zero the block's output is the spikes of its first neurons."""
    block, x = from_linen(ResidualBlock(3)), X[:, :8, :8]
    params, state = block.init(jax.random.key(0), x)
    params = jax.tree.map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "Conv" in str(path) else leaf, params
    )
    y, _ = block.apply(params, {"batch_stats": state["batch_stats"]}, x)
    np.testing.assert_array_equal(y, x / np.sqrt(1 + 1e-5) >= 1)
    assert 0 < y.mean() < 1


def test_every_neuron_layer_keeps_a_membrane_of_the_sequence():
    _, state = jax.eval_shape(stack(spiking_resnet18_blocks(width=2)).init, jax.random.key(0), X)
    assert len(jax.tree.leaves(state["sequence"])) == 17
    assert len(jax.tree.leaves(state["batch_stats"])) == 2 * 17
