"""Greedy training: one layer after the other, each on the finished output of those below."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from jax.sharding import Mesh

from jaxlearn.core import CONTEXT, Batch, Key, Params, PyTree, Rule, State, make_state, make_step
from jaxlearn.runtime import evaluator, fit

BELOW = "below"
"""Key of a batch for the summed outputs of the layers below, one row per example."""

Score = Callable[[jax.Array, Batch], jax.Array]
"""`(outputs [B, ...], batch) -> [B]`, a number per example, larger is better: 1 where correct."""


class Stage(NamedTuple):
    """One layer of a greedy training.

    Attributes:
        rule: trains the layer on a batch whose context the stages below have made; its `predict`
            is the layer's part of the prediction.
        advance: `(params, state, context) -> context`, what the batch's context (a graph and its
            features) is for the next stage; the examples stay what they are.
    """

    rule: Rule
    advance: Callable[[Params, State, PyTree], PyTree]


class Trained(NamedTuple):
    """What a stage leaves: the weights that were best on the validation batch.

    Attributes:
        params: of the layer.
        state: its lasting collections.
        history: one dict per step, with `"validation/score"` where it was measured.
        steps: the steps taken.
    """

    params: Params
    state: State
    history: list[dict[str, Any]]
    steps: int


def layerwise(
    stages: Sequence[Stage],
    tx: optax.GradientTransformation,
    key: Key,
    train: Batch,
    validation: Batch,
    score: Score,
    *,
    steps: int,
    evaluate_every: int = 2,
    patience: int | None = 100,
    mesh: Mesh | None = None,
    workdir: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> list[Trained]:
    """Train each stage to its best validation score, then hand its output on as a constant.

    The input of stage l is computed once, by the stages below; its own transform starts anew.
    Validation scores the sum of the predictions of layers 1 to l. So the first n entries of the
    result are the result for n stages.

    Args:
        stages: the layers from below.
        tx: an optax transformation, one instance of its state per stage.
        key: split between the stages by their number.
        train: the full batch of every step.
        validation: the batch that stops a stage and picks its weights.
        score: of the summed outputs, by example.
        steps: steps per stage, at most.
        evaluate_every: steps between validations.
        patience: validations in a row without improvement after which a stage ends.
        mesh: devices that share the examples.
        workdir: each stage keeps its checkpoints in `layer-<l>` in it, and resumes from there.
        config: tied to the workdir; another one is refused.
        progress: show a bar per stage.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.rules import backprop
        >>> stage = Stage(backprop(tiny_stack(), cross_entropy), lambda p, s, context: context)
        >>> correct = lambda outputs, batch: outputs.argmax(-1) == batch["labels"]
        >>> trained = layerwise(
        ...     [stage],
        ...     optax.adam(0.1),
        ...     jax.random.key(0),
        ...     tiny_batch(),
        ...     tiny_batch(seed=1),
        ...     correct,
        ...     steps=4,
        ... )
        >>> trained[0].steps
        4
    """
    trained: list[Trained] = []
    total: PyTree = 0.0
    for number, (rule, _) in enumerate(stages):
        if trained:
            before = (trained[-1].params, trained[-1].state)
            below = stages[number - 1]
            total = total + _outputs(below.rule, *before, validation)
            train, validation = _advanced(below, *before, [train, validation])
        judged = validation | ({BELOW: total} if trained else {})
        metrics: dict[str, Score] = {"validation/score": _WithBelow(score)}
        evaluate = evaluator(rule.predict, metrics, [judged], mesh)
        fitted = fit(
            make_step(rule, tx),
            make_state(rule, tx, jax.random.fold_in(key, number), train),
            lambda step, train=train: train,
            steps=steps,
            mesh=mesh,
            chunk=min(evaluate_every, steps),
            evaluate=evaluate,
            evaluate_every=evaluate_every,
            monitor="validation/score",
            patience=patience,
            workdir=None if workdir is None else Path(workdir) / f"layer-{number + 1}",
            config=None if config is None else {**config, "layer": number + 1},
            progress=progress,
            name=f"layer {number + 1}",
        )
        # off the mesh: what is computed once is computed on one device
        best = fitted.state if fitted.best is None else fitted.best
        params, state = jax.device_get((best.params, best.state))
        trained.append(Trained(params, state, fitted.history, fitted.steps))
    return trained


def predict(stages: Sequence[Stage], trained: Sequence[Trained], batch: Batch) -> jax.Array:
    """The prediction of the trained stages: the sum of their outputs.

    Raises:
        ValueError: when there are more trained layers than stages.
    """
    if len(trained) > len(stages):
        raise ValueError(f"{len(trained)} trained layers for {len(stages)} stages")
    total: PyTree = 0.0
    for number, layer in enumerate(trained):
        if number:
            below = trained[number - 1]
            (batch,) = _advanced(stages[number - 1], below.params, below.state, [batch])
        total = total + _outputs(stages[number].rule, layer.params, layer.state, batch)
    return total


def _advanced(stage: Stage, params: Params, state: State, batches: list[Batch]) -> list[Batch]:
    """The batches of the next stage; a context that batches share is computed once."""
    made: dict[int, PyTree] = {}
    for batch in batches:
        if id(batch[CONTEXT]) not in made:
            made[id(batch[CONTEXT])] = jax.jit(stage.advance)(params, state, batch[CONTEXT])
    return [batch | {CONTEXT: made[id(batch[CONTEXT])]} for batch in batches]


def _outputs(rule: Rule, params: Params, state: State, batch: Batch) -> jax.Array:
    return jax.jit(rule.predict)(params, state, batch)[0]


class _WithBelow(NamedTuple):
    """A score that counts the outputs of the layers below; equal for equal scores."""

    score: Score

    def __call__(self, outputs: jax.Array, batch: Batch) -> jax.Array:
        return self.score(outputs + batch[BELOW] if BELOW in batch else outputs, batch)
