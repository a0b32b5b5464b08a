"""QResNet starts as the conventional ResNet, from random weights and from trained ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import stack, trees
from jaxlearn.data import MissingData, load
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.layers.quadratic import group_of, with_linear_path
from jaxlearn.models.option_a_resnet import from_torch, option_a_resnet
from jaxlearn.models.quadratic_mlp import quadratic_mlp
from jaxlearn.models.quadratic_resnet import quadratic_resnet

KEY = jax.random.key(0)
X = np.random.default_rng(1).normal(size=(6, 8, 8, 3)).astype(np.float32)
SMALL = ((1, 1), (4, 8))


def network(**options):
    """A small QResNet of two blocks."""
    return stack([*quadratic_resnet(*SMALL, **options), classifier(3)])


def start(net):
    """Parameters and state."""
    return jax.jit(net.init)(KEY, X)


def slopes(net, params, state):
    """Logits and the gradient of a linear function of them, in training mode."""

    def loss(params):
        y, _ = net.apply(params, state, X, train=True)
        return jnp.sum(y * jnp.arange(18.0).reshape(6, 3)), y

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def test_identity_1_at_the_start_it_is_the_conventional_network_with_its_gradients():
    full, plain = network(), network(form="conventional")
    params, state = start(full)
    own, _ = start(plain)
    flat = {trees.path(keys): leaf for keys, leaf in jax.tree.leaves_with_path(params)}
    for keys, leaf in jax.tree.leaves_with_path(own):
        np.testing.assert_array_equal(flat[trees.path(keys)], leaf)
    (_, logits), grads = slopes(full, params, state)
    (_, expected), wanted = slopes(plain, own, state)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    found = {trees.path(keys): leaf for keys, leaf in jax.tree.leaves_with_path(grads)}
    for keys, leaf in jax.tree.leaves_with_path(wanted):
        np.testing.assert_allclose(found[trees.path(keys)], leaf, rtol=1e-4, atol=1e-4)
    moving = [path for path, leaf in found.items() if "kernel" in path and np.any(leaf)]
    assert {group_of(path) for path in moving} == {"r", "g", "b", "other"}


def test_identity_8_with_rezero_every_block_starts_as_relu_of_its_shortcut():
    net = network(rezero=True, start="random")
    params, state = start(net)
    read = jax.jit(net.apply)
    logits, _ = read(params, state, X)
    for width in (0.3, 3.0):
        scaled = jax.tree.map_with_path(
            lambda keys, leaf, by=width: by * leaf if group_of(trees.path(keys)) in "rgb" else leaf,
            params,
        )
        np.testing.assert_array_equal(logits, read(scaled, state, X)[0])
    stem = quadratic_resnet(*SMALL)[0]
    h, _ = jax.jit(stem.apply)(params["0"], trees.part(state, "0"), X)
    h = jnp.pad(h[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (2, 2)))  # relu(h) is h
    head = params["3"]["Dense_0"]
    np.testing.assert_allclose(logits, h.mean((1, 2)) @ head["kernel"] + head["bias"], atol=1e-5)


def test_only_the_convolutions_of_the_blocks_are_quadratic():
    count = lambda net: {
        group: sum(
            leaf.size
            for keys, leaf in jax.tree.leaves_with_path(jax.eval_shape(net.init, KEY, X)[0])
            if group_of(trees.path(keys)) == group
        )
        for group in ("r", "g", "b", "other")
    }
    found = count(network())
    assert found["r"] == found["g"] == found["b"]
    assert found["r"] == 9 * (4 * 4 + 4 * 4 + 4 * 8 + 8 * 8) + 4 + 4 + 8 + 8
    assert found["other"] == 9 * 3 * 4 + 2 * 4 + 4 * 4 + 4 * 8 + 8 * 3 + 3
    compact = count(network(form="compact", rezero=True))
    assert (compact["g"], compact["b"]) == (0, found["b"])
    assert compact["other"] == found["other"] + 2


def real(depth, images):
    """Published arrays, normalised test images and labels; skips where they are not."""
    try:
        arrays = resnet_weights(depth)
        test = load("cifar10", variant="jpg", train=1, validation=0, test=images).test
    except MissingData as error:
        pytest.skip(str(error))
    return arrays, (test["inputs"] - np.array(MEAN)) / np.array(STD), test["labels"]


def predictions(net, params, state, x, size=50):
    """Logits, so many images at a time."""
    run = jax.jit(net.apply)
    parts = np.split(np.asarray(x, np.float32), len(x) // size)
    return np.concatenate([run(params, state, part)[0] for part in parts])


def both(depth, arrays):
    """(network, parameters, state) of the published network, and of a QResNet grown from it."""
    blocks = ((depth - 2) // 6,) * 3
    plain = stack([*option_a_resnet(blocks), classifier(10)])
    full = stack([*quadratic_resnet(blocks), classifier(10)])
    params, state = from_torch(arrays, blocks)
    shape = jax.eval_shape(full.init, KEY, jnp.ones((1, 32, 32, 3)))[0]
    return (plain, params, state), (full, with_linear_path(shape, params), state)


@pytest.mark.parametrize(
    "depth", [20, *(pytest.param(depth, marks=pytest.mark.slow) for depth in (32, 56))]
)
def test_identity_2_the_published_weights_in_the_linear_path_give_the_same_logits(depth):
    arrays, x, labels = real(depth, 100)
    plain, grown = both(depth, arrays)
    expected = predictions(*plain, x)
    assert (expected.argmax(-1) == labels).mean() > 0.7  # 0.83 of the first 2,000
    found = predictions(*grown, x[:10], 10)
    np.testing.assert_allclose(found, expected[:10], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "known"), [(20, 0.810), (32, 0.826)])
def test_identity_2_the_known_accuracies_on_all_images(depth, known):
    """Which earlier runs of the same weights gave on the JPEG variant of the 10,000 test images."""
    arrays, x, labels = real(depth, 10_000)
    plain, grown = both(depth, arrays)
    expected = predictions(*plain, x, 250).argmax(-1)
    assert (expected == labels).mean() == pytest.approx(known, abs=1e-3)
    # three times the products: a part of the images stands for all
    found = predictions(*grown, x[:1000], 250).argmax(-1)
    np.testing.assert_array_equal(found, expected[:1000])


def test_a_deep_network_of_random_branches_squares_its_activations_at_every_layer():
    """Without normalisation L layers give a^(2^L), which the ReLinear start prevents."""
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)

    def sizes(start):
        net = quadratic_mlp((8,) * 10, 2, start=start)
        params, state = net.init(KEY, x)
        read = jax.jit(net.apply)
        return [float(np.abs(read(params, state, scale * x)[0]).max()) for scale in (1.0, 3.0)]

    assert not np.isfinite(sizes("random")[1])
    calm = sizes("relinear")
    assert calm[1] < 4 * calm[0] < 100
