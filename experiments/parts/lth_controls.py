"""What a ticket of `lth_rewinding.py` is compared with: other masks, weights and orders."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlearn.analysis.stability import angle, barrier, distance
from jaxlearn.core import Batch, Rule, Step, TrainState
from jaxlearn.procedures.mask_controls import shuffled
from jaxlearn.procedures.rewinding import Level, over, train_subnetwork
from jaxlearn.procedures.seeds import seed_of


class Lab(NamedTuple):
    """What the chains of one network share, so that all of them compile once.

    `feed(order)` gives the batches, in an order of its own for every number and seed.
    """

    rule: Rule
    tx: optax.GradientTransformationExtraArgs
    dense: TrainState
    step: Step
    steps: int
    feed: Callable[[int], Callable[[int], Batch]]
    accuracies: Callable[[TrainState], list[float]]
    accuracy: Callable[[TrainState], float]


def compared(
    lab: Lab,
    dense: Level,
    ticket: Level,
    kinds: Sequence[str],
    points: int,
    *,
    workdir: Path,
    **options: Any,
) -> dict[str, list[float]]:
    """Accuracy of the controls, and both stabilities of the ticket and of a random subnetwork.

    Args:
        lab: what the chain was trained with.
        dense: its level 0.
        ticket: its last level.
        kinds: of random masks, see `shuffled`; `"layer"` among them.
        points: of the line between two trainings.
        workdir: of the trainings.
        options: of `fit`.
    """

    def trained(name: str, begin: TrainState, masks: Any, order: int) -> TrainState:
        return train_subnetwork(
            lab.step,
            lab.tx,
            begin,
            masks,
            lab.feed(order),
            steps=lab.steps,
            seeds=True,
            workdir=workdir / name,
            **options,
        )

    start, masks = dense.start, ticket.masks
    keys = jax.vmap(partial(jax.random.fold_in, data=7))(start.key)
    drawn = {kind: jax.vmap(partial(shuffled, among=kind))(masks, keys) for kind in kinds}
    ends = {kind: trained(f"random-{kind}", start, drawn[kind], 0) for kind in kinds}
    found = {f"random {kind}": lab.accuracies(end) for kind, end in ends.items()}
    anew = over(lambda state, _: _drawn_anew(lab, state), start, True)(start, keys)
    found["re-initialised"] = lab.accuracies(trained("again", anew, masks, 0))
    pairs = {
        "ticket": (ticket.state, trained("ticket-order", start, masks, 1), masks),
        "random": (
            ends["layer"],
            trained("random-order", start, drawn["layer"], 1),
            drawn["layer"],
        ),
    }
    for name, (one, two, kept) in pairs.items():
        for measure, (a, b) in {"pruning": (dense.state, one), "order": (one, two)}.items():
            apart = (a.params, b.params, kept)
            found[f"{measure} distance, {name}"] = jax.vmap(distance)(*apart).tolist()
            found[f"{measure} angle, {name}"] = jax.vmap(angle)(*apart).tolist()
        each = [(seed_of(one, i), seed_of(two, i)) for i in range(len(keys))]
        found[f"barrier, {name}"] = [_barrier(lab, points, *pair) for pair in each]
    return found


def _barrier(lab: Lab, points: int, a: TrainState, b: TrainState) -> float:
    """The rise of test error on the line, in points."""

    def error(ends: Any) -> float:
        return 100 - lab.accuracy(a._replace(params=ends[0], state=ends[1]))

    return barrier(error, (a.params, a.state), (b.params, b.state), points)


def _drawn_anew(lab: Lab, state: TrainState) -> TrainState:
    """The state with other initial weights and batch statistics."""
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), lab.feed(0)(0))
    params, collections = lab.rule.init(jax.random.fold_in(state.key, 11), example)
    return state._replace(params=params, state=collections)
