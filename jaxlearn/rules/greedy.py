"""Greedy supervised learning: every layer learns from a classifier of its own.

Belilovsky, Eickenberg, Oyallon, "Greedy Layerwise Learning Can Scale to ImageNet", ICML 2019, in
the form in which all layers learn at once (Belilovsky et al., ICML 2020).
"""

from collections.abc import Sequence

from jaxlearn.core import Model, Objective, Rule
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.local_learning import Auxiliary, layer_by_layer


def greedy(
    layers: Sequence[Model],
    classifier: Model,
    *,
    head: Model | None = None,
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """L isolated modules: `L_i = objective(head(h_i))`, `h_i = layer_i(stop_gradient(h_{i-1}))`.

    Args:
        layers: the L layers of the network; group them with `stack` to have fewer modules.
        classifier: from the last layer's output to the logits.
        head: the head of every layer but the last, by default the classifier's architecture (for
            images global average pooling and a linear layer, called `0c1f`). With
            `models.heads.dgl_head` this is decoupled greedy learning.
        objective: the loss of every module.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> rule = greedy(tiny_blocks(), tiny_head())
    """
    local = Auxiliary(classifier if head is None else head, objective)
    heads = [local] * (len(layers) - 1)
    return layer_by_layer(layers, classifier, heads, objective, loop=loop)


def examples() -> dict[str, Rule]:
    """Linear heads, and heads of one hidden layer, on dense layers."""
    from jaxlearn.core import stack
    from jaxlearn.models.tiny import tiny_blocks, tiny_head

    hidden = stack([tiny_blocks()[0], tiny_head()])
    return {
        "greedy": greedy(tiny_blocks(), tiny_head()),
        "greedy-hidden": greedy(tiny_blocks(), tiny_head(), head=hidden),
    }
