"""Target projection SGD: every layer learns towards the label seen through a random matrix.

Lomnitz, Daniels, Zhang, Piacentino, "Learning with local gradients at the edge", 2022 (arXiv
2208.08503). It generalises direct random target projection (`direct_random_target_projection`),
which is its linear loss.
"""

from collections.abc import Sequence
from typing import Literal

from jaxlearn.core import Model, Objective, Rule
from jaxlearn.models.heads.projection import Draw, projection, signed_uniform
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.target_losses import TargetLoss, l1, l2, nearness, to_target
from jaxlearn.rules.local_learning import LocalModule, local_learning
from jaxlearn.rules.read_last import read_last


def target_projection(
    blocks: Sequence[Model],
    classifier: Model,
    *,
    classes: int,
    loss: TargetLoss = l2,
    draw: Draw | Sequence[Draw] = signed_uniform,
    scale: float | Literal["rms"] = "rms",
    per_channel: bool = False,
    regenerate: bool = False,
    recompute: float = 0.0,
    objective: Objective = cross_entropy,
    read: int | None = None,
    loop: bool = False,
) -> Rule:
    """Train block i on `mean_b loss(P_i y*_b, y_i)` and the classifier on the task.

    `y_i = block_i(stop_gradient(y_{i-1}))` is the block's output behind its activation, y* the
    one-hot label and `P_i` a matrix `[units, classes]` that is drawn once. With `loss=l2` and a
    block `sigma(W a + b)` the signal is `dW = -mean_b ((P y* - y) sigma'(z)) a^T`: no backward pass
    runs through other blocks, and what a block needs is gone when the next one is computed. The
    losses are sums over units, so that their size does not depend on the width.

    Convolutional blocks end before their pooling (`models.shallow_blocks`): a target is a map of
    the activation's full size, or with `per_channel` one number per channel. For recurrent blocks
    see `recurrent_target_projection`.

    Args:
        blocks: the hidden layers, each ending in its activation.
        classifier: from the last block's output to what the objective takes; for no blocks it is
            all there is.
        classes: number of classes.
        loss: of target and output, see `objectives.target_losses`.
        draw: where the codes of the classes (columns of `P`) come from, one for all blocks or one
            each. They have to lie in the range of the activation: `signed_uniform` for tanh,
            `unit_uniform` for logistic units, `half_normal` or `class_blocks` for ReLU.
        scale: of the codes, see `projection`: `"rms"` needs a real batch in `init`.
        per_channel: one target per channel of an image instead of one per place.
        regenerate: keep the seeds of the codes instead of the codes.
        recompute: hand on the output after a step of this size, see `local_learning`.
        objective: the classifier's loss.
        read: predict by the code nearest to the output of this block instead of the classifier;
            the outputs are then `-|P e_c - y|^2` by class c.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Raises:
        ValueError: when there is not one draw per block, or `read` is no block.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks, tiny_head
        >>> rule = target_projection(tiny_blocks(), tiny_head(), classes=3)
        >>> import jax
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> state["frozen"]["heads"]["0"]["codes"].shape
        (3, 12)
    """
    draws = [draw] * len(blocks) if callable(draw) else list(draw)
    if len(draws) != len(blocks):
        raise ValueError(f"expected one draw for each of {len(blocks)} blocks, found {len(draws)}")
    if read is not None and not 0 <= read < len(blocks):
        raise ValueError(f"read must name a block in 0..{len(blocks) - 1}, found {read}")
    # equal draws share one head, so that equal blocks are equal modules (see `loop`)
    options = {"scale": scale, "per_channel": per_channel, "regenerate": regenerate}
    heads = {one: projection(one, classes, **options) for one in draws}
    local = to_target(loss)
    modules = [LocalModule(block, local, heads[d]) for block, d in zip(blocks, draws, strict=True)]
    return local_learning(
        [*modules, LocalModule(classifier, objective)],
        combine=None if read is None else lambda outputs, batch: nearness(outputs[read]),
        loop=loop,
        recompute=recompute,
    )


def recurrent_target_projection(
    cells: Sequence[Model],
    classifier: Model,
    T: int,
    *,
    classes: int,
    time_axis: int | None = 1,
    targets: Literal["every", "last"] = "every",
    **options,
) -> Rule:
    """Target projection for recurrent layers, without backpropagation through time.

    The hidden state `h_t` of every layer has the same target `P y*` at every step (or at the last
    one only), and what it was at the step before counts as a constant: for `h_t = tanh(W_x x_t +
    W_h h_{t-1} + b)` and `e_t = (P y* - h_t) (1 - h_t^2)`, the signals are `-(1/T) sum_t e_t x_t^T`
    and `-(1/T) sum_t e_t h_{t-1}^T`. They are added up step by step, so memory does not grow with
    T. The classifier learns from the last state alone and predicts from it.

    It is `read_last(target_projection(cells, classifier), T)`. A classifier that learns and
    predicts at every step is `over_time(target_projection(cells, classifier), T)`.

    Args:
        cells: recurrent layers for one step, such as `models.recurrent`; gates are differentiated
            within their step.
        classifier: from the last layer's state to what the objective takes.
        T: steps per sequence.
        classes: number of classes.
        time_axis: the axis of the inputs that is time; None shows the same inputs at every step.
        targets: when the hidden states are compared with their targets.
        **options: of `target_projection`. With `scale="rms"` the middle of the sequence, entered
            from the state zero, decides.

    Raises:
        ValueError: for other `targets`.
    """
    if targets not in ("every", "last"):
        raise ValueError(f"targets must be 'every' or 'last', found {targets!r}")
    rule = target_projection(cells, classifier, classes=classes, **options)
    readout = str(len(cells))
    hidden = lambda path: path.split("/")[0] != readout
    taught = hidden if targets == "every" else lambda path: False
    return read_last(rule, T, every_step=taught, time_axis=time_axis)


def examples() -> dict[str, Rule]:
    """Dense layers towards real-valued codes and towards blocks of units, and a recurrent one."""
    from jaxlearn.models.heads.projection import class_blocks, half_normal
    from jaxlearn.models.recurrent import recurrent
    from jaxlearn.models.tiny import CLASSES, WIDTH, tiny_blocks, tiny_head

    blocks, head = tiny_blocks(), tiny_head()
    return {
        "target-l2": target_projection(blocks, head, classes=CLASSES, draw=half_normal),
        "target-l1-loop": target_projection(
            blocks, head, classes=CLASSES, draw=class_blocks, loss=l1, scale=1.0, loop=True
        ),
        "target-recurrent": recurrent_target_projection(
            [recurrent(WIDTH)], head, 2, classes=CLASSES, time_axis=None, regenerate=True
        ),
    }
