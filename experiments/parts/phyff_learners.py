"""Methods of the experiment `phyff`, and the course of one row of its table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen
from jax import lax

from experiments.parts.phyff_systems import (
    MEAN,
    STD,
    Amplitude,
    cavity,
    drifted,
    embedding_of,
    layers_of,
    physics_of,
)
from jaxlearn.core import (
    Model,
    Rule,
    TrainState,
    from_linen,
    make_state,
    make_step,
    reparametrize,
    stack,
)
from jaxlearn.data.augment import augment, random_shift
from jaxlearn.data.negative_data import hybrids
from jaxlearn.models.physical import as_model, black_box, physics_aware
from jaxlearn.models.physical.black_box import Physics
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations import freeze
from jaxlearn.rules import backprop
from jaxlearn.rules.direct_feedback_alignment import direct_feedback_alignment
from jaxlearn.rules.forward_forward import forward_forward, unsupervised_forward_forward
from jaxlearn.rules.phyff import cosine, phyff_trainer, sum_of_squares


class Learner(NamedTuple):
    """A method: state before the first step, one step of it, and outputs by class."""

    start: Callable[[Any, Any], TrainState]
    step: Callable[[TrainState, Any], tuple[TrainState, Any]]
    predict: Callable[[TrainState, Any], jax.Array]


def learner(
    config: Any, classes: int, amplitude: Amplitude, real: Physics | None, believed: Physics | None
) -> Learner:
    """The method of a row in a world where the physics is `real` and its model `believed`.

    Rules that make one update per step take `inner_steps` of them, so that all methods update as
    often on the same batches.
    """
    tx = optax.adam(config.learning_rate)
    if config.method in ("phyll", "sum-of-squares", "untrained"):
        digital = config.system == "digital"
        trainer = phyff_trainer(
            layers_of(config, real),
            embedding_of(config, classes, amplitude),
            tx,
            inner_steps=config.inner_steps,
            criterion=sum_of_squares()
            if config.method == "sum-of-squares"
            else cosine(config.theta, absolute=not digital),
        )
        predict = lambda state, batch: trainer.rule.predict(state.params, state.state, batch)[0]
        return Learner(trainer.state, trainer.step, predict)
    taught = rule_of(config, classes, amplitude, _seen(config, real, believed))
    judged = rule_of(config, classes, amplitude, real)
    step = make_step(taught, tx)

    def several(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        once = lambda state, _: step(state, batch)
        state, metrics = lax.scan(once, state, length=config.inner_steps)
        return state, jax.tree.map(lambda m: m.mean(0), metrics)

    return Learner(
        lambda key, batch: make_state(taught, tx, key, batch),
        several,
        lambda state, batch: judged.predict(state.params, state.state, batch)[0],
    )


def _seen(config: Any, real: Physics | None, believed: Physics | None) -> Physics | None:
    """The physics as training meets it."""
    if real is None or believed is None:
        return real
    if config.method == "backprop":
        return believed
    return physics_aware(real, believed) if config.method == "physics-aware" else black_box(real)


def rule_of(config: Any, classes: int, amplitude: Amplitude, physics: Physics | None) -> Rule:
    """The rules beside PhyLL, over the same layers with a linear classifier behind them."""
    classifier = from_linen(linen.Dense(classes))
    blocks = [as_model(layer) for layer in layers_of(config, physics)]
    labels = embedding_of(config, classes, amplitude)
    if config.method == "linear":
        return backprop(from_linen(linen.Dense(classes)), cross_entropy)
    if config.method == "reservoir":
        whole = backprop(stack([*blocks, classifier]), cross_entropy)
        return reparametrize(whole, freeze(lambda path: path.startswith(f"{len(blocks)}/")))
    if config.method == "feedback":
        return direct_feedback_alignment(blocks, classifier)
    if config.method == "forward-forward":
        return forward_forward(relu_blocks(config), labels)
    if config.method == "unsupervised":
        return unsupervised_forward_forward(relu_blocks(config), classes, negatives=hybrids_of_rows)
    return backprop(stack([*blocks, classifier]), cross_entropy)


def hybrids_of_rows(batch: Mapping[str, Any], key: jax.Array) -> jax.Array:
    """Hybrids of square images that come as rows of pixels."""
    x = batch["inputs"]
    edge = round(x.shape[1] ** 0.5)
    return hybrids({**batch, "inputs": x.reshape(-1, edge, edge)}, key).reshape(x.shape)


def relu_blocks(config: Any) -> list[Model]:
    """The layers of the original forward-forward, `relu(x W + b)`."""
    return [from_linen(_Relu(config.width)) for _ in range(config.layers)]


class _Relu(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.relu(linen.Dense(self.width)(x))


def training(
    config: Any, made: Learner
) -> Callable[[TrainState, dict[str, jax.Array], jax.Array, jax.Array | int], TrainState]:
    """`(state, training examples, key, epochs) -> state` after epochs of shuffled batches."""

    def train(
        state: TrainState, data: dict[str, jax.Array], key: jax.Array, epochs: jax.Array | int
    ) -> TrainState:
        n = len(data["labels"])
        size = min(config.batch or n, n)
        per_epoch = n // size
        shifts = jax.random.split(key)[1]

        def step(t: jax.Array, state: TrainState) -> TrainState:
            epoch, place = t // per_epoch, t % per_epoch
            order = jnp.arange(n)
            if size < n:
                order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
            rows = lax.dynamic_slice_in_dim(order, place * size, size)
            batch = {name: leaf[rows] for name, leaf in data.items()}
            if shifted(config):
                batch = moved(batch, jax.random.fold_in(shifts, t))
            return made.step(state, batch)[0]

        return lax.fori_loop(0, epochs * per_epoch, step, state)

    return train


SHIFT = 0.025
"""Of the image's size, by which Fashion-MNIST is moved in training."""


def shifted(config: Any) -> bool:
    """Whether images are moved at random, as in the published runs of the digital network."""
    return (config.size, config.system, config.images) == ("paper", "digital", "fashion_mnist")


def moved(batch: dict[str, jax.Array], key: jax.Array) -> dict[str, jax.Array]:
    """Square images that come as rows of pixels, each moved by up to a pixel; black comes in."""
    edge = round(batch["inputs"].shape[1] ** 0.5)
    whole = batch | {"inputs": batch["inputs"].reshape(-1, edge, edge, 1)}
    found = augment(whole, key, random_shift(SHIFT, -MEAN / STD))
    return batch | {"inputs": found["inputs"].reshape(batch["inputs"].shape)}


def accuracy_of(made: Learner) -> Callable[[TrainState, dict[str, jax.Array]], jax.Array]:
    """`(state, examples) -> percent` of right answers, predicted in pieces."""

    def measure(state: TrainState, data: dict[str, jax.Array]) -> jax.Array:
        n = len(data["labels"])
        pieces = n // 500 if n > 1000 and n % 500 == 0 else 1
        split = {name: leaf.reshape(pieces, -1, *leaf.shape[1:]) for name, leaf in data.items()}

        def right(piece: dict[str, jax.Array]) -> jax.Array:
            unlabelled = {name: leaf for name, leaf in piece.items() if name != "labels"}
            return (made.predict(state, unlabelled).argmax(-1) == piece["labels"]).mean()

        return 100 * lax.map(right, split).mean()

    return measure


def course(config: Any, classes: int, checks: Sequence[int]) -> Callable[..., dict[str, jax.Array]]:
    """`(keys, training examples, test examples, amplitudes) -> accuracies`, all stacked over seeds.

    Where the row has a drift, the system changes after the last epoch, training goes on, and
    accuracy is measured at each of the `checks`; the model that backpropagation and physics-aware
    training have of the physics stays what it was. One program serves all phases.
    """
    before = cavity(config) if config.system == "acoustic" else None
    believed = physics_of(config, before)

    def learner_in(world: Any, amplitude: jax.Array) -> Learner:
        real = believed if world is None else physics_of(config, world)
        return learner(config, classes, amplitude, real, believed)

    def start(key: jax.Array, train: Any, amplitude: jax.Array) -> TrainState:
        return learner_in(before, amplitude).start(key, train)

    def phase(state: TrainState, key, train, test, amplitude, world, epochs):
        made = learner_in(world, amplitude)
        state = training(config, made)(state, train, key, epochs)
        return state, accuracy_of(made)(state, test)

    start = jax.jit(jax.vmap(start))
    phase = jax.jit(jax.vmap(phase, in_axes=(0, 0, 0, 0, 0, None, None)))

    def run(keys, train, test, amplitudes) -> dict[str, jax.Array]:
        state, found = start(keys, train, amplitudes), {}
        given = (keys, train, test, amplitudes)
        state, found["accuracy"] = phase(state, *given, before, config.epochs)
        if config.drift:
            after = drifted(before, config.drift)
            for done, check in zip((0, *checks), checks, strict=False):
                state, found[f"drift_{check}"] = phase(state, *given, after, check - done)
        return found

    return run
