"""What the layers of a trained network represent, however its training was cut into modules."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax

from jaxlearn.analysis.cka import linear_cka
from jaxlearn.analysis.linear_probe import linear_probe
from jaxlearn.core import Model, TrainState
from jaxlearn.rules.local_learning import HEADS

Variables = list[tuple[Any, Any]]
"""Of every layer its parameters and its batch statistics."""


def variables(state: TrainState, count: int) -> Variables:
    """Of the `count` layers of a network that learned as a whole, or layer by layer up to a last
    module of all that remain.
    """
    isolated = len(state.params.get(HEADS, {}))
    whole = str(count) in state.params  # the classifier stands behind the layers

    def of(tree: Any, layer: int) -> Any:
        if whole or layer < isolated:
            return tree[str(layer)]
        return tree[str(isolated)][str(layer - isolated)]

    stats = state.state["batch_stats"]
    return [(of(state.params, layer), of(stats, layer)) for layer in range(count)]


def likeness(layers: Sequence[Model], first: Variables, second: Variables, images: Any) -> float:
    """Linear CKA of every layer of one network with the same layer of another, averaged."""
    x, y, found = images, images, []
    for layer, own, other in zip(layers, first, second, strict=True):
        x, y = _outputs(layer, *own, x), _outputs(layer, *other, y)
        found.append(float(_alike(x, y)))
    return sum(found) / len(found)


def probed(
    layers: Sequence[Model],
    own: Variables,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    classes: int,
) -> float:
    """Test accuracy in percent of a linear classifier on the middle layer's output, pooled.

    train, test: images and labels.
    """
    (x, labels), (tests, expected) = train, test
    for layer, of_layer in list(zip(layers, own, strict=True))[: len(layers) // 2 + 1]:
        x, tests = (_outputs(layer, *of_layer, images) for images in (x, tests))
    return 100 * float(_read(classes, x.mean((1, 2)), labels, tests.mean((1, 2)), expected))


# compiled once for all rows and seeds of a table
_alike = jax.jit(linear_cka)


@partial(jax.jit, static_argnums=0)
def _read(classes: int, x: jax.Array, labels: Any, tests: jax.Array, expected: Any) -> jax.Array:
    return linear_probe(x, labels, classes).accuracy(tests, expected)


@partial(jax.jit, static_argnums=0)
def _outputs(layer: Model, params: Any, stats: Any, x: jax.Array) -> jax.Array:
    return layer.apply(params, {"batch_stats": stats}, x)[0]
