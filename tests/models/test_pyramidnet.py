"""PyramidNet beside its published size, and a small one counted by hand."""

import jax
import pytest

from jaxlearn.core import stack
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.pyramidnet import pyramid_widths, pyramidnet

IMAGES = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")


def weights(depth: int, alpha: float, classes: int) -> int:
    model = stack([*pyramidnet(depth, alpha), classifier(classes)])
    params, _ = jax.eval_shape(model.init, jax.random.key(0), IMAGES)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def by_hand(depth: int, alpha: float, classes: int) -> int:
    """Kernels without biases, two numbers per channel of every norm, and the classifier."""
    total, before = 3 * 9 * 16 + 2 * 16, 16
    for width in pyramid_widths(depth, alpha):
        kernels = before * width + 9 * width * width + width * 4 * width
        norms = 2 * (before + width + width + 4 * width)
        total, before = total + kernels + norms, 4 * width
    return total + 2 * before + before * classes + classes


def test_a_small_one_has_the_weights_counted_by_hand():
    assert weights(20, 12, 100) == by_hand(20, 12, 100)


@pytest.mark.slow
def test_the_published_size():
    """26.8 million for 200 layers and alpha = 240 on 100 classes."""
    assert weights(200, 240, 100) == by_hand(200, 240, 100)
    assert round(weights(200, 240, 100) / 1e6, 1) == 26.8
