"""Direct random target projection: the label itself, projected at random, is the error signal.

Frenkel, Lefebvre, Bol, "Learning without feedback: fixed random learning signals allow for
feedforward training of deep neural networks", Frontiers in Neuroscience 15, 2021 (arXiv
1909.01311).
"""

from collections.abc import Sequence

import jax

from jaxlearn.core import Batch, Metrics, Model, Objective, Rule
from jaxlearn.models.heads.projection import Draw, kaiming_uniform, projection
from jaxlearn.objectives import cross_entropy, weighted_mean
from jaxlearn.objectives.target_losses import Projected, alignment, linear, target_of
from jaxlearn.rules.local_learning import LocalModule, local_learning


def direct_random_target_projection(
    blocks: Sequence[Model],
    classifier: Model,
    *,
    classes: int,
    draw: Draw = kaiming_uniform,
    scale: float = 1.0,
    objective: Objective = cross_entropy,
    loop: bool = False,
) -> Rule:
    """`delta_i = B_i y*` stands in for `dL / dy_i` behind the activation of every block.

    For `y = sigma(W a + b)` the signal is `dW = mean_b (B y* sigma'(z)) a^T`: what the layer gives
    plays no part. It is target projection with the linear loss and `P = -B`. The classifier learns
    from the task's loss.

    Args:
        blocks: the hidden layers, each ending in its activation (and before its pooling).
        classifier: from the last block's output to what the objective takes.
        classes: number of classes.
        draw: the distribution of `B`, as codes `[classes, *units]`.
        scale: factor of `B`.
        objective: the classifier's loss.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Example:
        >>> from jaxlearn.models.tiny import tiny_blocks, tiny_head
        >>> rule = direct_random_target_projection(tiny_blocks(), tiny_head(), classes=3)
    """
    head = projection(draw, classes, scale=scale)
    modules = [LocalModule(block, projected_error, head) for block in blocks]
    return local_learning([*modules, LocalModule(classifier, objective)], loop=loop)


def projected_error(projected: Projected, batch: Batch) -> tuple[jax.Array, Metrics]:
    """`mean_b <B y*_b, y_b>`, whose gradient by `y_b` is the projected label."""
    error = target_of(projected, batch)
    value = weighted_mean(-linear(error, projected.outputs), batch)
    near = weighted_mean(alignment(-error, projected.outputs), batch)
    return value, {"loss": value, "alignment": near}


def examples() -> dict[str, Rule]:
    """On layers of tanh as in the paper: ReLU units grow without bound along a linear loss."""
    from jaxlearn.models.shallow_blocks import dense_blocks
    from jaxlearn.models.tiny import CLASSES, WIDTH

    blocks, readout = dense_blocks(CLASSES, (WIDTH, WIDTH))
    rule = direct_random_target_projection(blocks, readout, classes=CLASSES, scale=0.3)
    return {"drtp": rule}
