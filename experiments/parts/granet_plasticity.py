"""The pruning-plasticity study of `granet.py`: one checkpoint, every kind of prune and ratio."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import optax

from jaxlearn.core import Batch, Rule, TrainState, make_step
from jaxlearn.procedures.plasticity import pruned, regrown
from jaxlearn.procedures.rewinding import started, subnetwork
from jaxlearn.procedures.seeds import batch_axes, seed_of
from jaxlearn.runtime import every_device, fit, own_rows
from jaxlearn.transforms.sparsity import masks as masks_of
from jaxlearn.transforms.sparsity import seed_axes
from jaxlearn.transforms.sparsity.prunable import Masks, apply

KINDS = ("global", "uniform", "grow global", "grow uniform")
"""Prune over all layers together or in each; and grow as many weights again, from 0."""


def plasticity_study(
    rule: Rule,
    optimizer: optax.GradientTransformation,
    checkpoint: TrainState,
    feed: Callable[[int], Batch],
    steps: int,
    accuracies: Callable[[TrainState], list[float]],
    ratios: Sequence[float],
    *,
    workdir: Path,
    progress: bool,
) -> list[dict[str, float]]:
    """Accuracy after continued training minus accuracy before the prune, one dict per seed.

    `"dense"` is the same for the network that was not pruned.

    Args:
        rule: of the training.
        optimizer: its learning rate stays what it is at the checkpoint's step.
        checkpoint: of the dense network, stacked over seeds.
        feed: whole batches stacked over seeds; every process trains on its own rows of them.
        steps: the step at which continued training ends.
        accuracies: one per seed.
        ratios: shares to prune.
        workdir: of the trainings.
        progress: show their bars.
    """
    tx = subnetwork(optimizer)
    begin = lambda state: started(tx, state._replace(opt_state=tx.init(state.params)))
    axes, whole = (seed_axes(state) for state in (checkpoint, begin(seed_of(checkpoint, 0))))
    dense = jax.vmap(begin, (axes,), whole)(checkpoint)
    batch = feed(int(checkpoint.step))
    each = batch_axes(batch)
    step = jax.vmap(make_step(rule, tx), (whole, each), (whole, 0))
    before, found = accuracies(checkpoint), {}

    def recovery(name: str, state: TrainState) -> list[float]:
        options = {"steps": steps, "workdir": workdir / name.replace(" ", "-"), "name": name}
        own, mesh = own_rows(feed), every_device()
        end = fit(step, state, own, mesh=mesh, progress=progress, **options).state
        return [now - was for now, was in zip(accuracies(end), before, strict=True)]

    found["dense"] = recovery("dense", dense)
    for ratio in ratios:
        for kind in KINDS:
            make = partial(_cut, rule, tx, kind, ratio)
            cut = jax.vmap(make, (whole, each), whole)(dense, batch)
            name = f"{kind} {100 * ratio:g} %"
            found[name] = recovery(name, cut)
    return [{name: values[i] for name, values in found.items()} for i in range(len(before))]


def _cut(
    rule: Rule,
    tx: optax.GradientTransformation,
    kind: str,
    ratio: float,
    state: TrainState,
    batch: Batch,
) -> TrainState:
    masks: Masks = pruned(state.params, ratio, scope=kind.removeprefix("grow "))
    if not kind.startswith("grow"):
        return started(tx, state, masks)
    left = apply(masks, state.params)
    gradient = rule.signal(left, state.state, batch, state.key)[0]
    grown = regrown(masks_of(state.opt_state), masks, gradient)
    return started(tx, state._replace(params=left), grown)
