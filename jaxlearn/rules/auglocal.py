"""AugLocal: local heads that look like what comes after them.

Ma, Wu, Si, Tan, "Scaling Supervised Local Learning with Augmented Auxiliary Networks", ICLR 2024
(arXiv 2402.17318). Every layer learns from a head of its own and passes no gradient on. The head
consists of copies (same architecture, own weights) of layers spaced evenly over those that follow,
the last one always among them; heads get shallower towards the end ("pyramidal depth").
"""

from collections.abc import Callable, Sequence

from jaxlearn.core import Model, Objective, Rule, stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.local_learning import Auxiliary, layer_by_layer

HeadOf = Callable[[int, list[int]], Model]
"""`(layer, selected layers) -> head`: the network from the layer's output to the logits."""

Selection = Callable[[int, int, int], list[int]]
"""`(layer, layers, depth) -> selected layers`: which layers the head of a layer copies."""


def pyramid(layers: int, depth: int, tau: float = 0.5, *, joint: int | None = None) -> list[int]:
    """Depths of the heads of the hidden modules i = 0 … K-2, with K = layers - joint + 1 modules.

    `d_i = max(1, round(d (1 - tau r) + tau r))`, `r = i / (K - 2)` (halves round to even): from d
    down to `(1 - tau) d + tau`. With `tau = 0` all are d.

    Args:
        layers: L, layers of the primary network.
        depth: d, the depth of the first head, 1 … L-1.
        tau: how far the depth falls.
        joint: how many layers at the end have no heads and learn together, by default d + 1.

    Raises:
        ValueError: when the depth or the joint layers are out of range.

    Example:
        >>> pyramid(16, 3)
        [3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2]
    """
    if not 1 <= depth < layers:
        raise ValueError(f"depth must lie in 1..{layers - 1} for {layers} layers, found {depth}")
    joint = depth + 1 if joint is None else joint
    if not 1 <= joint <= layers:
        raise ValueError(f"joint must lie in 1..{layers} for {layers} layers, found {joint}")
    hidden = layers - joint
    fractions = [tau * i / max(hidden - 1, 1) for i in range(hidden)]
    return [max(1, round(depth * (1 - r) + r)) for r in fractions]


def uniform_selection(layer: int, layers: int, depth: int) -> list[int]:
    """The layers that the head of `layer` copies: `depth` evenly spaced ones up to the last.

    `round(l + i (L - l - 1) / d)` for i = 1 … d, or all that follow when these are no more than d.

    Args:
        layer: l, the layer with the head.
        layers: L, layers of the primary network.
        depth: d, blocks of the head.

    Raises:
        ValueError: when there is no layer after `layer`, or no depth.

    Example:
        >>> uniform_selection(0, 16, 3), uniform_selection(12, 16, 5)
        ([5, 10, 15], [13, 14, 15])
    """
    if not (0 <= layer < layers - 1 and depth >= 1):
        raise ValueError(
            f"a head needs a layer in 0..{layers - 2} and a depth of at least 1, "
            f"found layer {layer} of {layers} and depth {depth}"
        )
    after = layers - 1 - layer
    if depth >= after:
        return list(range(layer + 1, layers))
    return [round(layer + after / depth * i) for i in range(1, depth + 1)]


def consecutive_selection(layer: int, layers: int, depth: int) -> list[int]:
    """The next `depth` layers, as far as there are any: the paper's ablation "sequential".

    Example:
        >>> consecutive_selection(0, 16, 3), consecutive_selection(13, 16, 5)
        ([1, 2, 3], [14, 15])
    """
    return list(range(layer + 1, min(layer + depth, layers - 1) + 1))


def repeated_selection(layer: int, layers: int, depth: int) -> list[int]:
    """The layer itself, as often as `uniform_selection` has layers: the ablation "repetitive".

    Example:
        >>> repeated_selection(4, 16, 3), repeated_selection(13, 16, 5)
        ([4, 4, 4], [13, 13])
    """
    return [layer] * min(depth, layers - 1 - layer)


def auglocal(
    layers: Sequence[Model],
    classifier: Model,
    depth: int,
    head: HeadOf,
    *,
    tau: float = 0.5,
    joint: int | None = None,
    selection: Selection = uniform_selection,
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """Local learning with K = L - depth isolated modules.

    Modules 0 … K-2 are one layer each, with the head `head(layer, selected)`; the last module is
    all remaining `depth + 1` layers with the classifier. Prediction takes the primary path alone.
    `depth = L - 1` leaves one module, which is backpropagation; `depth = 0` means the same, as in
    the authors' code.

    Args:
        layers: the L layers of the primary network.
        classifier: from the last layer's output to the logits.
        depth: d, blocks of the first head.
        head: what builds the heads; for ResNets `models.heads.copied_blocks_head`.
        tau: how far the depth falls towards the last hidden module, see `pyramid`.
        joint: how many layers the last module has, by default `depth + 1`. The authors' ImageNet
            runs isolate all layers (`joint=1`) and have no pyramid (`tau=0`).
        selection: which layers a head copies; `consecutive_selection` and `repeated_selection` are
            what the paper compares its choice with.
        objective: the loss of every module.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Raises:
        ValueError: when the depth is not in 0 … L-1, or `joint` not in 1 … L (L alone, where the
            depth is 0).
    """
    count = len(layers)
    if depth == 0 and joint not in (None, count):
        raise ValueError(
            f"depth 0 is backpropagation, where all {count} layers learn together; "
            f"found joint={joint}"
        )
    depths = pyramid(count, depth or count - 1, tau, joint=joint) if count > 1 else []
    heads = [head(i, selection(i, count, d)) for i, d in enumerate(depths)]
    local = [Auxiliary(one, objective) for one in heads]
    return layer_by_layer(layers, classifier, local, objective, loop=loop)


def examples() -> dict[str, Rule]:
    """AugLocal on dense layers: a head is as many dense layers as were selected, and a linear."""
    from jaxlearn.models.tiny import tiny_blocks, tiny_head

    layers = [*tiny_blocks(), *tiny_blocks()]

    def head(layer: int, selected: list[int]) -> Model:
        return stack([*(layers[j] for j in selected), tiny_head()])

    return {f"auglocal-{depth}": auglocal(layers, tiny_head(), depth, head) for depth in (1, 2)}
