"""The wide network of MixtureGrowth's table, its members, and what their steps cost."""

from functools import cache
from typing import Any

import jax

from jaxlearn.core import Model, from_linen, stack
from jaxlearn.models.wide_resnet import WideBlock, WideClassifier, WideStem, wide_resnet

CLASSES = 10


@cache
def layers(dataset: str, depth: int, width: float, half: bool) -> tuple[Model, ...]:
    """WRN-depth-width without second norms; for digits a stem, one block and the classifier.

    Args:
        dataset: as said.
        depth: 6n + 4, for images of CIFAR-10.
        width: factor of the wide network's channels.
        half: half of all channels, as a member has.
    """
    share = 0.5 if half else 1.0
    if dataset != "digits":
        stem = round(16 * share)
        return (*wide_resnet(depth, width * share, CLASSES, second_norm=False, stem=stem),)
    channels = round(8 * width * share)
    block = WideBlock(2 * channels, 2, second_norm=False)
    return (
        from_linen(WideStem(channels)),
        from_linen(block),
        from_linen(WideClassifier(CLASSES)),
    )


@cache
def network(dataset: str, depth: int, width: float, half: bool) -> Model:
    """The layers as one model."""
    return stack(layers(dataset, depth, width, half))


@cache
def multiply_adds(
    dataset: str, depth: int, width: float, half: bool, shape: tuple[int, ...]
) -> int:
    """Multiply-adds of the forward pass of one image `[H, W, C]`, in closed form.

    A kernel is applied once at every place of its layer's output; norms, mixing of templates and
    additions are left out. A training step costs about three times as much.

    Example:
        >>> wide, member = (multiply_adds("cifar10", 10, 1, half, (32, 32, 3)) for half in (0, 1))
        >>> wide, round(member / wide, 3)
        (12501632, 0.259)
    """
    x: Any = jax.ShapeDtypeStruct((1, *shape), "float32")
    total = 0
    for layer in layers(dataset, depth, width, half):
        params, state = jax.eval_shape(layer.init, jax.random.key(0), x)
        x, _ = jax.eval_shape(layer.apply, params, state, x)
        places = x.shape[1] * x.shape[2] if len(x.shape) == 4 else 1
        total += places * sum(leaf.size for leaf in jax.tree.leaves(params) if len(leaf.shape) > 1)
    return total
