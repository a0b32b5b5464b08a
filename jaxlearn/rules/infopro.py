"""InfoPro: layers keep what they know of the input while they learn the label.

Wang, Ni, Song, Yang, Huang, "Revisiting Locally Supervised Learning: an Alternative to End-to-end
Training", ICLR 2021. A local loss that only asks for the label throws away what later layers need;
reconstructing the image holds it back.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp

from jaxlearn.core import (
    FROZEN,
    Batch,
    Key,
    Metrics,
    Model,
    Objective,
    Params,
    PyTree,
    Rule,
    State,
    trees,
)
from jaxlearn.objectives import cross_entropy, infopro_loss
from jaxlearn.objectives.reconstruction import Image
from jaxlearn.rules.local_learning import Auxiliary, layer_by_layer

Ends = tuple[float, float]
"""A weight at the first and at the last hidden module."""


def between(ends: Ends, ratio: float) -> float:
    """`first (1 - ratio) + last ratio`.

    Example:
        >>> round(between((5.0, 0.2), 0.5), 3)
        2.6
    """
    return ends[0] * (1 - ratio) + ends[1] * ratio


def infopro(
    layers: Sequence[Model],
    classifier: Model,
    head: Model,
    image: Image,
    *,
    reconstruct: Ends = (5.0, 0.2),
    classify: Ends = (0.05, 0.5),
    task: Objective = cross_entropy,
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """L isolated modules: `L_i = lambda1_i BCE(decoder(h_i), image) + lambda2_i task(features)`.

    The weights go linearly from the first to the last hidden module i = 0 … L-2, with the ratio
    `i / (L - 2)` (0 when there is one). The defaults are those of ResNet-32 in 16 modules;
    ResNet-110 in 55 takes `(5, 0.5)` and `(0, 1)`.

    Args:
        layers: the L layers of the network; group them with `stack` to have fewer modules.
        classifier: from the last layer's output to the logits.
        head: of every layer but the last, to `{"image", "features"}`; for images
            `models.heads.infopro_head`.
        image: what to reconstruct, with values in 0 … 1; see `objectives.restored`.
        reconstruct: lambda 1 at both ends.
        classify: lambda 2 at both ends.
        task: `cross_entropy` (InfoPro-softmax) or `supervised_contrastive()` (InfoPro-contrast).
        objective: the last module's loss.
        loop: compute equal neighbours in one compiled loop, see `local_learning`. Loss weights,
            which would make layers unequal, are frozen state of the heads then.
    """
    hidden = len(layers) - 1
    ratios = [i / max(hidden - 1, 1) for i in range(hidden)]
    weights = [(between(reconstruct, ratio), between(classify, ratio)) for ratio in ratios]
    if loop:
        local = weighted_loss(image, task)
        heads = [Auxiliary(weighted, local) for weighted in weighted_heads(head, weights)]
    else:  # a TPU's compiler finds leaner programs where the weights are constants
        heads = [Auxiliary(head, infopro_loss(*pair, image, task=task)) for pair in weights]
    return layer_by_layer(layers, classifier, heads, objective, loop=loop)


def weighted_heads(head: Model, weights: Sequence[tuple[float, float]]) -> list[Model]:
    """The head once for every pair of loss weights, which its outputs carry as `"weights"`.

    All compute the same; the weights are frozen state, `[2]`, drawn by no one and changed by no
    step. So modules whose losses differ in weights alone can share one compiled loop.
    """

    def init(pair: tuple[float, float], key: Key, h: PyTree) -> tuple[Params, State]:
        params, state = head.init(key, h)
        own = {FROZEN: {"weights": jnp.array(pair)}}
        return params, trees.joined({"head": state, "loss": own})

    def apply(params: Params, state: State, h: PyTree, *, train: bool = False, key=None):
        own = trees.part(state, "loss")
        out, new = head.apply(params, trees.part(state, "head"), h, train=train, key=key)
        out = out | {"weights": own[FROZEN]["weights"]}
        return out, trees.joined({"head": new, "loss": own})

    return [Model(partial(init, pair), apply) for pair in weights]


def weighted_loss(image: Image, task: Objective) -> Objective:
    """`infopro_loss` with the weights that come with the outputs of `weighted_heads`."""

    def objective(outputs: PyTree, batch: Batch) -> tuple[jax.Array, Metrics]:
        reconstruct, classify = outputs["weights"]
        return infopro_loss(reconstruct, classify, image, task=task)(outputs, batch)

    return objective


def examples() -> dict[str, Rule]:
    """Both tasks on dense layers; the "image" is the input, squashed."""
    import jax
    from flax import linen

    from jaxlearn.core import from_linen, stack
    from jaxlearn.models.heads.branches import branches
    from jaxlearn.models.tiny import FEATURES, tiny_blocks, tiny_head
    from jaxlearn.objectives import supervised_contrastive

    decoder = from_linen(linen.Dense(FEATURES))
    image = lambda batch: jax.nn.sigmoid(batch["inputs"])

    def rule(features: Model, task: Objective) -> Rule:
        head = branches({"image": decoder, "features": features})
        return infopro(tiny_blocks(), tiny_head(), head, image, task=task)

    embedding = stack([tiny_blocks()[0], from_linen(linen.Dense(8))])
    return {
        "infopro": rule(tiny_head(), cross_entropy),
        "infopro-contrast": rule(embedding, supervised_contrastive(group=4)),
    }
