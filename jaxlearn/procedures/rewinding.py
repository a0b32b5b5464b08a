"""Iterative magnitude pruning with rewinding.

Frankle, Dziugaite, Roy & Carbin, "Stabilizing the Lottery Ticket Hypothesis", arXiv 1903.01611:
train the dense network for k steps to W_k; then, level by level, train the subnetwork `m W_k` from
step k to the end, and prune a fraction of what it has left.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from jaxlearn.core import Batch, Params, PyTree, Step, TrainState
from jaxlearn.procedures.fast_forward import fast_forward
from jaxlearn.runtime import fit
from jaxlearn.transforms.sparsity import masks as masks_of
from jaxlearn.transforms.sparsity import seed_axes
from jaxlearn.transforms.sparsity.initial import dense
from jaxlearn.transforms.sparsity.prunable import Masks, Prunable, apply, matrices_and_filters
from jaxlearn.transforms.sparsity.sparse import sparse
from jaxlearn.transforms.sparsity.state import SparseState

RESETS = ("rewind", "rate")


def subnetwork(
    optimizer: optax.GradientTransformation, *, prunable: Prunable = matrices_and_filters
) -> optax.GradientTransformationExtraArgs:
    """The transform that trains a subnetwork: masks in its state, dense until `started` sets them.

    Weights and momentum are 0 off the masks after every step. For SGD with momentum and weight
    decay the active weights are those of masking the gradients; under clipping by the global norm
    they are not, since there the norm is that of the active entries.

    Args:
        optimizer: any optax transformation.
        prunable: which leaves have masks, see `except_for`.
    """
    return sparse(optimizer, initial=dense, prunable=prunable)


def started(
    tx: optax.GradientTransformation, start: TrainState, masks: Masks | None = None
) -> TrainState:
    """The subnetwork `m W_k` at step k, as a level starts from it.

    Weights, batch statistics, step and key are those of `start`. The optimizer's state is fresh,
    with its learning-rate schedule at step k.

    Args:
        tx: from `subnetwork`.
        start: the state after k steps, or any other to start from.
        masks: those of `start` by default.

    Raises:
        ValueError: when the transform has no masks.

    Example:
        >>> import jax.numpy as jnp
        >>> tx = subnetwork(optax.sgd(0.1, 0.9))
        >>> params = {"w": jnp.array([[1.0, 2.0]])}
        >>> start = TrainState(jnp.int32(7), params, {}, tx.init(params), jax.random.key(0))
        >>> state = started(tx, start, {"w": jnp.array([[True, False]])})
        >>> state.params["w"], int(state.step)
        (Array([[1., 0.]], dtype=float32), 7)
    """
    masks = masks_of(start.opt_state) if masks is None else masks
    opt_state = tx.init(start.params)
    if masks is None or not isinstance(opt_state, SparseState):
        raise ValueError(
            "a subnetwork needs masks in its optimizer: use tx = subnetwork(optimizer)"
        )
    opt_state = opt_state._replace(masks=masks, inner=fast_forward(opt_state.inner, start.step))
    return start._replace(params=apply(masks, start.params), opt_state=opt_state)


class Level(NamedTuple):
    """One level of iterative pruning.

    Attributes:
        number: 0 is the dense network.
        masks: what was trained.
        start: the state that it was trained from.
        state: the state at the end.
    """

    number: int
    masks: Masks
    start: TrainState
    state: TrainState


def iterative_pruning(
    step: Step,
    tx: optax.GradientTransformation,
    start: TrainState,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    levels: int,
    prune: Callable[[Params, Masks], Masks],
    reset: str = "rewind",
    seeds: bool = False,
    workdir: str | Path | None = None,
    **options: Any,
) -> Iterator[Level]:
    """Train, prune, rewind; again and again.

    With m = the masks of `start` (dense at first), level l trains `m W_k` from step k to `steps` on
    the batches of those steps, and hands on `prune(W_T, m)`. Level 0 is itself trained from W_k,
    with a fresh optimizer. One shot is `levels=1` with a large fraction.

    A run that was killed continues, in the level and at the step where it was: every level is a run
    of `fit` in `workdir/level-<l>`, and a finished one returns at once. The generator is lazy; to
    stop early, stop asking.

    Args:
        step: the step of a rule and `tx`; from `over_seeds` for several seeds.
        tx: from `subnetwork`.
        start: the state after k steps of dense training. `start.step` is k.
        batches: batch of a step, by its number; the same in every level.
        steps: T, the step at which every level ends.
        levels: prunings.
        prune: `prune(params, masks) -> masks` of one seed, such as `prune_globally` at 0.2.
        reset: `"rewind"` to the weights and batch statistics of `start`; `"rate"` keeps those of
            the end of the level before and takes back the step alone (learning-rate rewinding,
            Renda, Frankle & Carbin, ICLR 2020).
        seeds: the states are stacked over seeds, as `over_seeds` does.
        workdir: of all levels.
        options: others of `fit`.

    Raises:
        ValueError: for an unknown reset.

    Example:
        >>> from functools import partial
        >>> from jaxlearn.core import make_state, make_step
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_stack
        >>> from jaxlearn.objectives import cross_entropy
        >>> from jaxlearn.procedures.magnitude_pruning import prune_globally
        >>> from jaxlearn.rules import backprop
        >>> from jaxlearn.transforms.sparsity import density
        >>> rule, tx = backprop(tiny_stack(), cross_entropy), subnetwork(optax.sgd(0.1))
        >>> start = make_state(rule, tx, jax.random.key(0), tiny_batch())
        >>> levels = iterative_pruning(
        ...     make_step(rule, tx),
        ...     tx,
        ...     start,
        ...     lambda step: tiny_batch(),
        ...     steps=4,
        ...     levels=2,
        ...     prune=partial(prune_globally, fraction=0.5),
        ...     progress=False,
        ... )
        >>> [round(float(density(level.masks)), 2) for level in levels]
        [1.0, 0.5, 0.25]
    """
    if reset not in RESETS:
        raise ValueError(f"unknown reset={reset!r}, expected one of {RESETS}")
    masks, origin = masks_of(start.opt_state), start
    choose = jax.jit(jax.vmap(prune) if seeds else prune)
    for number in range(levels + 1):
        home = None if workdir is None else Path(workdir) / f"level-{number}"
        state = train_subnetwork(
            step, tx, start, masks, batches, steps=steps, seeds=seeds, workdir=home, **options
        )
        yield Level(number, masks, start, state)
        if number == levels:
            return
        masks = choose(state.params, masks)
        if reset == "rate":
            start = state._replace(step=origin.step)


def train_subnetwork(
    step: Step,
    tx: optax.GradientTransformation,
    start: TrainState,
    masks: Masks | None,
    batches: Callable[[int], Batch],
    *,
    steps: int,
    seeds: bool = False,
    **options: Any,
) -> TrainState:
    """One subnetwork from `start` to step `steps`: what a level does, and every control of it.

    Arguments are those of `iterative_pruning`; `masks` says what is trained.
    """
    begin = over(lambda state, masks: started(tx, state, masks), start, seeds)
    return fit(step, begin(start, masks), batches, steps=steps, **options).state


def over(
    make: Callable[[TrainState, PyTree], TrainState], state: TrainState, seeds: bool
) -> Callable[[TrainState, PyTree], TrainState]:
    """`make(state, other)`, mapped over the stacked seeds of both where there are several."""
    if not seeds:
        return make
    axes = seed_axes(state)
    return jax.vmap(make, (axes, 0), axes)
