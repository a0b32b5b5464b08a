"""InfoPro: layers keep what they know of the input while they learn the label.

Wang, Ni, Song, Yang, Huang, "Revisiting Locally Supervised Learning: an Alternative to End-to-end
Training", ICLR 2021. A local loss that only asks for the label throws away what later layers need;
reconstructing the image holds it back.
"""

from collections.abc import Sequence

from jaxlearn.core import Model, Objective, Rule
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
    """
    hidden = len(layers) - 1
    ratios = [i / max(hidden - 1, 1) for i in range(hidden)]
    losses = [
        infopro_loss(between(reconstruct, r), between(classify, r), image, task=task)
        for r in ratios
    ]
    return layer_by_layer(layers, classifier, [Auxiliary(head, loss) for loss in losses], objective)


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
