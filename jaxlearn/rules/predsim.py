"""PredSim: layers learn classes and, above all, which examples are alike.

Nøkland & Eidnes, "Training neural networks with local error signals", ICML 2019: similarity
matching and cross-entropy as a layer's own loss, here on isolated layers that learn at once.
"""

from collections.abc import Sequence

from jaxlearn.core import Model, Objective, Rule
from jaxlearn.objectives import cross_entropy, predsim_loss
from jaxlearn.rules.local_learning import Auxiliary, layer_by_layer


def predsim(
    layers: Sequence[Model],
    classifier: Model,
    head: Model,
    *,
    share: float = 0.99,
    group: int | None = None,
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """L isolated modules: `L_i = share * similarity matching + (1 - share) * cross-entropy`.

    Args:
        layers: the L layers of the network; group them with `stack` to have fewer modules.
        classifier: from the last layer's output to the logits.
        head: of every layer but the last, to `{"similarity", "logits"}`; for images
            `models.heads.predsim_head`.
        share: of similarity matching.
        group: compare within groups of so many examples, see `similarity_matching`.
        objective: the last module's loss.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.
    """
    local = Auxiliary(head, predsim_loss(share, group=group))
    return layer_by_layer(layers, classifier, [local] * (len(layers) - 1), objective, loop=loop)


def examples() -> dict[str, Rule]:
    """Dense layers; examples are compared in fours."""
    from jaxlearn.models.heads.predsim import predsim_head
    from jaxlearn.models.tiny import CLASSES, tiny_blocks, tiny_head

    return {"predsim": predsim(tiny_blocks(), tiny_head(), predsim_head(CLASSES), group=4)}
