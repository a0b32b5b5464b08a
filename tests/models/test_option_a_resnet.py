"""The conventional network, and the published weights in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack
from jaxlearn.models.cifar_resnet import RESNET32, classifier
from jaxlearn.models.option_a_resnet import (
    RESNET20,
    RESNET56,
    from_torch,
    option_a_resnet,
    shortcut,
)
from tests.models.test_cifar_resnet import conv_by_hand

IMAGES = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)


def torch_like(blocks, widths, classes=10, seed=0):
    """Random arrays by the names and shapes of the PyTorch model."""
    rng = np.random.default_rng(seed)
    arrays = {}

    def norm(name, width):
        for part in ("weight", "bias", "running_mean"):
            arrays[f"{name}.{part}"] = rng.normal(size=width).astype(np.float32)
        arrays[f"{name}.running_var"] = rng.uniform(0.5, 2, width).astype(np.float32)

    def conv(name, into, out):
        scale = (2 / (9 * into)) ** 0.5
        arrays[f"{name}.weight"] = scale * rng.normal(size=(out, into, 3, 3)).astype(np.float32)

    conv("conv1", 3, widths[0])
    norm("bn1", widths[0])
    into = widths[0]
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
        for j in range(count):
            for k in (1, 2):
                conv(f"layer{stage}.{j}.conv{k}", into, width)
                norm(f"layer{stage}.{j}.bn{k}", width)
                into = width
    arrays["linear.weight"] = rng.normal(size=(classes, into)).astype(np.float32)
    arrays["linear.bias"] = rng.normal(size=classes).astype(np.float32)
    return arrays


def logits_by_hand(arrays, x, blocks):
    """The PyTorch model in evaluation mode, written out in float64 loops."""
    a = {name: np.asarray(leaf, np.float64) for name, leaf in arrays.items()}

    def norm(x, name):
        scale = a[f"{name}.weight"] / np.sqrt(a[f"{name}.running_var"] + 1e-5)
        return (x - a[f"{name}.running_mean"]) * scale + a[f"{name}.bias"]

    conv = lambda x, name, stride=1: conv_by_hand(
        x, a[f"{name}.weight"].transpose(2, 3, 1, 0), stride
    )
    x = np.maximum(norm(conv(np.asarray(x, np.float64), "conv1"), "bn1"), 0)
    for stage, count in enumerate(blocks, 1):
        for j in range(count):
            place, stride = f"layer{stage}.{j}", 2 if stage > 1 and j == 0 else 1
            y = np.maximum(norm(conv(x, f"{place}.conv1", stride), f"{place}.bn1"), 0)
            y = norm(conv(y, f"{place}.conv2"), f"{place}.bn2")
            if stride == 2:
                quarter = y.shape[-1] // 4
                x = np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (quarter, quarter)))
            x = np.maximum(x + y, 0)
    return x.mean((1, 2)) @ a["linear.weight"].T + a["linear.bias"]


def test_the_imported_network_is_the_pytorch_model():
    blocks, widths = (1, 2, 1), (4, 8, 16)
    arrays = torch_like(blocks, widths)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3))
    net = stack([*option_a_resnet(blocks, widths), classifier(10)])
    params, state = from_torch(arrays, blocks)
    found, _ = jax.jit(net.apply)(params, state, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, logits_by_hand(arrays, x, blocks), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("blocks", "size"), [(RESNET20, 269722), (RESNET32, 464154), (RESNET56, 853018)]
)
def test_depths_have_the_published_sizes_and_the_imported_tree(blocks, size):
    net = stack([*option_a_resnet(blocks), classifier(10)])
    needed = jax.eval_shape(net.init, jax.random.key(0), IMAGES)
    assert sum(leaf.size for leaf in jax.tree.leaves(needed[0])) == size
    spec = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)
    assert spec(from_torch(torch_like(blocks, (16, 32, 64)), blocks)) == spec(needed)


def test_the_shortcut_takes_every_second_pixel_and_pads_on_both_sides():
    x = jnp.arange(32.0).reshape(1, 4, 4, 2)
    y = shortcut(x, 4, 2)
    np.testing.assert_array_equal(y[..., 1:3], x[:, ::2, ::2])
    assert not np.any(y[..., [0, 3]])
    np.testing.assert_array_equal(shortcut(x, 2, 1), x)


@pytest.mark.parametrize("width", [1, 5])
def test_channels_that_cannot_be_padded_are_refused(width):
    with pytest.raises(ValueError, match=f"2 do not become {width}"):
        shortcut(jnp.ones((1, 2, 2, 2)), width, 1)


def test_missing_arrays_and_widths_are_named():
    arrays = torch_like((1, 1, 1), (4, 8, 16))
    with pytest.raises(ValueError, match=r"no array 'layer1\.1\.conv1\.weight'"):
        from_torch(arrays, (2, 1, 1))
    with pytest.raises(ValueError, match="found 2 stages and 3 widths"):
        option_a_resnet((1, 1))
