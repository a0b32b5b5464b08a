"""ReLinear: quadratic networks grown from conventional ones, on small problems and digits.

Expected (preset `small`, seeds 0 to 2): all claims hold. One quadratic neuron tells a disc from its
ring (100 %), a linear one does not (49 %); 12 quadratic layers without normalisation fail to train
from random branches in all networks and in 7 % from the ReLinear start. Test accuracy on digits by
the rate of the quadratic parameters: 97.0 % at 0 (the conventional network), 97.2 at 0.01, 10 at 1
(collapse). 6 minutes on one of 2 cores.

    python -m experiments table relinear --preset small

Deviations from the paper are listed in `DEVIATIONS`, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import Bench, Experiment, Peer, Program, Row, Run, main
from experiments.parts.abstract import abstract, labelled
from experiments.parts.rates import check_rates
from experiments.parts.relinear_claims import METRICS, claims, figure
from experiments.parts.relinear_published import published_start
from jaxlearn.core import (
    Model,
    Rule,
    TrainState,
    from_linen,
    make_state,
    make_step,
    prepared,
    stack,
)
from jaxlearn.data import load
from jaxlearn.data.augment import augment, compose, random_crop, random_flip
from jaxlearn.data.batches import batches, padded
from jaxlearn.data.planes import rings, spirals, wave
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.layers.quadratic import with_linear_path
from jaxlearn.models.option_a_resnet import RESNET20, from_torch, option_a_resnet
from jaxlearn.models.quadratic_mlp import OneNeuron, quadratic_mlp
from jaxlearn.models.quadratic_resnet import quadratic_resnet
from jaxlearn.objectives import cross_entropy
from jaxlearn.objectives.classification import weighted_mean
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import every_device, fit, own_rows
from jaxlearn.transforms.relinear import shrink_gradients, shrink_weights

DEVIATIONS = (
    "The formulas of shrinking weights (sw) are our reading of the released names alpha and beta: "
    "after every step the distance to the conventional neuron is multiplied by alpha, or clipped "
    "to beta.",
    "Accuracy is that of the last step; the released code reports the best test epoch, which "
    "selects on test data. The best rate is chosen by validation.",
    "Both convolutions of a block get the Kaiming start; in the released compact and ReZero files "
    "the second one does not.",
    "`paper` trains on 45,000 of the 50,000 images; a tenth is kept for validation.",
    "Compact networks train for 200 epochs like the others; the released compact script has 99 and "
    "no drop of the rate.",
    'The row "conventional, squared" of `paper` squares what its convolutions give, before the '
    "batch normalisation, and keeps the ReLUs behind it: squares alone grow along the residual "
    "stream.",
    "`small` is a perceptron of two quadratic layers on 8 x 8 digits, and small problems in the "
    "plane: the CIFAR-10 runs of `paper` need an accelerator.",
    "No published numbers stand beside ours: none could be read from the sources at hand.",
)
POINTS, DEVICES = 600, 256
IMAGES = ("digits", "cifar10")
GAMMAS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
Task = Literal["neuron", "spiral", "wave", "deep", "digits", "cifar10", "checkpoint"]


@dataclass(frozen=True)
class Config:
    """One training run.

    `gamma` is the rate of both quadratic groups (sg); `alpha` and `beta` shrink their weights after
    every step (sw). `start` is that of the quadratic branches: `"pretrained"` trains the
    conventional network first, for as many steps, `"published"` takes the published ResNet-20.
    `clip` is a bound on the norm of the gradient, 0
    for none. With `blocks` the network for images is a ResNet of so many blocks per stage, without
    them a perceptron; `widths` belong to either. `steps` is for the problems in the plane, `epochs`
    for images. `replicas` networks are trained per seed and their figures averaged.
    """

    task: Task = "digits"
    form: Literal["full", "compact", "product", "conventional", "squared"] = "full"
    start: Literal["relinear", "random", "pretrained", "published"] = "relinear"
    gamma: float = 1.0
    alpha: float = 1.0
    beta: float = 0.0
    rezero: bool = False
    clip: float = 0.0
    blocks: tuple[int, ...] = ()
    widths: tuple[int, ...] = (32, 32)
    steps: int = 1000
    epochs: int = 20
    batch: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    drops: tuple[float, ...] = (0.5, 0.75)
    train: int | None = None
    replicas: int = 1
    seeds_together: bool = True

    def __post_init__(self) -> None:
        check_rates(self)
        if min(self.gamma, self.beta, self.clip) < 0 or not 0 <= self.alpha <= 1:
            raise ValueError("gamma, beta and clip must be at least 0, and alpha in [0, 1]")
        if min(self.steps, self.epochs, self.batch, self.replicas) < 1:
            raise ValueError("steps, epochs, batch and replicas must be at least 1")
        if self.start == "published" and (self.blocks, self.widths) != (RESNET20, (16, 32, 64)):
            raise ValueError(
                f"start='published' needs the blocks {RESNET20} and the widths (16, 32, 64), found "
                f"{self.blocks} and {self.widths}"
            )


PRESETS = {
    "smoke": Config(steps=2, epochs=1, batch=32, train=64, blocks=(1,), widths=(4,)),
    "small": Config(),
    "paper": Config(
        task="cifar10",
        blocks=RESNET20,
        widths=(16, 32, 64),
        gamma=1e-4,
        epochs=200,
        batch=128,
        seeds_together=False,
    ),
}


def rows(config: Config) -> list[Row]:
    """The problems in the plane and the arms on digits; at `paper` the networks on CIFAR-10."""
    if config.task == "cifar10":
        return _paper_rows(config)
    plane = _plane_rows(config)
    arms = _arms(config, "digits: ", (0.0, 1e-4, 1e-2, 1.0), 1e-2)
    if config.train is not None:  # smoke: one network for each problem, and no files
        last = {row.config.task: row for row in plane}
        return [*last.values(), *arms]
    return [*plane, *arms, Row("checkpoint", Config(task="checkpoint"))]


def _plane_rows(config: Config) -> list[Row]:
    def row(name: str, task: Task, **options: Any) -> Row:
        own = replace(config, task=task, blocks=(), drops=(0.75,), batch=100, train=None)
        return Row(f"{task}: {name}", replace(own, **options))

    deep = {"widths": (16,) * 12, "learning_rate": 0.01, "replicas": 5}
    deep["steps"] = min(config.steps, 300)
    small, equal = {"widths": (8, 8)}, {"widths": (15, 15), "form": "conventional"}
    return [
        row("conventional", "neuron", form="conventional"),
        row("compact", "neuron", form="compact"),
        row("quadratic", "neuron"),
        row("conventional, equal size", "spiral", **equal),
        row("quadratic, sg 0.1", "spiral", gamma=0.1, **small),
        row("conventional, equal size", "wave", **equal),
        row("quadratic, sg 0.1", "wave", gamma=0.1, **small),
        row("conventional", "deep", form="conventional", **deep),
        row("random start", "deep", start="random", **deep),
        row("random start, clipped", "deep", start="random", clip=1.0, **deep),
        row("quadratic, sg 0.01", "deep", gamma=0.01, **deep),
    ]


def _arms(config: Config, prefix: str, gammas: Sequence[float], gamma: float) -> list[Row]:
    """Baselines, the sweep of gamma, and every variant at one gamma."""
    # a third of the weights of a layer between equal widths; the input layer of digits needs more
    factor = 3**0.5 if config.blocks else 17 / 8
    wide = tuple(round(width * factor / 2) * 2 for width in config.widths)
    arms: dict[str, dict[str, Any]] = {
        "conventional": {"form": "conventional"},
        "conventional, equal size": {"form": "conventional", "widths": wide},
        "conventional, squared": {"form": "squared", "learning_rate": config.learning_rate / 10},
        "random start": {"start": "random", "gamma": 1.0},
        "random start, clipped": {"start": "random", "gamma": 1.0, "clip": 1.0},
        **{f"sg {value:g}": {"gamma": value} for value in gammas},
        "sw alpha 0.9": {"gamma": 1.0, "alpha": 0.9},
        "sw beta 0.1": {"gamma": 1.0, "beta": 0.1},
        f"compact, sg {gamma:g}": {"form": "compact", "gamma": gamma},
        f"pretrained, sg {gamma:g}": {"start": "pretrained", "gamma": gamma},
        "pretrained, sw alpha 0.9": {"start": "pretrained", "gamma": 1.0, "alpha": 0.9},
    }
    if config.blocks:
        # the rate of the released ReZero script, higher than that of the others
        arms["ReZero, sg 0.01"] = {"rezero": True, "gamma": 1e-2}
    return [Row(prefix + name, replace(config, **options)) for name, options in arms.items()]


def _paper_rows(config: Config) -> list[Row]:
    table = _arms(config, "QResNet-20 ", GAMMAS, 1e-4)
    known = replace(config, start="published", learning_rate=config.learning_rate / 10)
    table.append(Row("ResNet-20 published, trained on", replace(known, form="conventional")))
    table.append(Row("QResNet-20 published, sg 0.0001", known))
    for depth, n in ((32, 5), (56, 9), (110, 18)):
        own = replace(config, blocks=(n,) * 3)
        table.append(Row(f"ResNet-{depth}", replace(own, form="conventional")))
        table.append(Row(f"QResNet-{depth} sg 0.0001", own))
        table.append(Row(f"QResNet-{depth} compact, sg 0.0001", replace(own, form="compact")))
        table.append(Row(f"QResNet-{depth} ReZero, sg 0.01", replace(own, rezero=True, gamma=1e-2)))
    return table


def model(config: Config) -> Model:
    """The network of a task."""
    start = "random" if config.start == "random" else "relinear"
    if config.task == "neuron":
        return from_linen(OneNeuron(config.form))
    if config.task in IMAGES and config.blocks:
        options = {"form": config.form, "start": start, "rezero": config.rezero}
        layers = quadratic_resnet(config.blocks, config.widths, **options)
        return stack([*layers, classifier(10)])
    outputs = {"wave": 1, "digits": 10}.get(config.task, 2)
    return quadratic_mlp(config.widths, outputs, form=config.form, start=start)


def rule(config: Config) -> Rule:
    """Backpropagation; on CIFAR-10 with flips, crops of the zero-padded image and normalisation."""
    plain = backprop(model(config), squared_error if config.task == "wave" else cross_entropy)
    if config.task == "digits" and not config.blocks:
        return prepared(plain, lambda b: b | {"inputs": b["inputs"].reshape(-1, 64)})
    if config.task != "cifar10":
        return plain
    moves = compose(random_crop(4, "zero"), random_flip)
    mean, std = jnp.array(MEAN), jnp.array(STD)
    normal = lambda batch: batch | {"inputs": (batch["inputs"] - mean) / std}
    return prepared(plain, normal, lambda batch, key: augment(batch, key, moves))


def squared_error(outputs: jax.Array, batch: dict[str, Any]) -> tuple[jax.Array, dict]:
    """`mean((f(x) - y)^2)` over the examples of outputs `[batch, 1]`."""
    return weighted_mean((outputs[:, 0] - batch["labels"]) ** 2, batch), {}


def transform(config: Config, steps: int) -> optax.GradientTransformation:
    """Momentum SGD with weight decay and a rate that drops by 10, then sg, then sw."""
    falls = {round(share * steps): 0.1 for share in config.drops}
    rate = optax.piecewise_constant_schedule(config.learning_rate, falls)
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    parts += [optax.add_decayed_weights(config.weight_decay), optax.sgd(rate, config.momentum)]
    parts += [shrink_gradients(config.gamma)]
    if config.alpha < 1:
        parts += [shrink_weights(config.alpha)]
    if config.beta > 0:
        parts += [shrink_weights(config.beta, kind="clip")]
    return optax.chain(*parts)


def read(config: Config) -> tuple[dict, dict, dict]:
    """Train, validation and test examples."""
    draws = {"neuron": rings, "deep": rings, "spiral": spirals, "wave": wave}
    if config.task in draws:
        draw = draws[config.task]
        return draw(POINTS, 0), draw(POINTS, 1), draw(2 * POINTS, 2)
    data = load(config.task, train=config.train)
    return data.train, data.validation, data.test


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train the seeds, together by `vmap` where the network is small."""
    if config.task == "checkpoint":
        return dict.fromkeys(seeds, checkpoint())
    results: dict[int, dict[str, float]] = {}
    for group in [list(seeds)] if config.seeds_together else [[seed] for seed in seeds]:
        each = [config.replicas * seed + i for seed in group for i in range(config.replicas)]
        states = trained(config, each, run)
        found = [measure(config, seed_of(states, i)) for i in range(len(each))]
        for j, seed in enumerate(group):
            own = found[j * config.replicas : (j + 1) * config.replicas]
            results[seed] = {name: float(np.mean([f[name] for f in own])) for name in own[0]}
            run.record(seed, results[seed])
    return results


def trained(config: Config, seeds: Sequence[int], run: Run) -> TrainState:
    """The states of all seeds after the last step."""
    examples, _, _ = read(config)
    streams = [batches(examples, config.batch, seed=seed) for seed in seeds]
    images = config.task in IMAGES
    steps = config.epochs * streams[0].steps_per_epoch if images else config.steps
    tx = transform(config, steps)
    states, step = over_seeds(rule(config), lambda key: tx, seeds, streams[0](0))
    if config.start == "pretrained":
        plain = trained(replace(config, start="relinear", form="conventional"), seeds, run)
        params = with_linear_path(states.params, plain.params)
        states = states._replace(params=params, state=plain.state)
    elif config.start == "published":
        states = published_start(states)
    folder = run.folder(seeds) / config.form
    options: dict[str, Any] = {
        "workdir": folder,
        "config": asdict(config),
        "progress": run.progress,
        "mesh": every_device(),
    }
    feed = own_rows(stacked(streams))
    # a network may diverge here: that is what some rows are about
    options |= {"chunk": 100, "on_device": None if config.blocks else True, "on_nan": "ignore"}
    return fit(step, states, feed, steps=steps, name=config.task, **options).state


def measure(config: Config, state: TrainState) -> dict[str, float]:
    """Accuracy in percent on validation and test images, or the root of the mean squared error.

    `diverged` is 1 where weights are not finite, or the training accuracy is below 60 %.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    judged = [_judged(config, part, state) for part in read(config)]
    if config.task == "wave":
        return {"rmse": judged[2] ** 0.5, "parameters": size}
    found = {"accuracy": judged[2], "validation": judged[1], "parameters": size}
    if config.task != "deep":
        return found
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state.params))
    return found | {"diverged": float(not finite or judged[0] < 60)}


def _judged(config: Config, part: dict, state: TrainState) -> float:
    """The mean score over the examples of a part, in batches of one shape."""
    size = 1000 if config.task == "cifar10" else 200
    found = [
        (np.asarray(_scores(config)(state.params, state.state, batch)), batch["mask"])
        for batch in padded(part, size)
    ]
    scores, masks = map(np.concatenate, zip(*found, strict=True))
    return float(scores[masks > 0].mean())


@cache
def _scores(config: Config) -> Any:
    """Percent right, or the squared error, of every example; compiled once per config."""
    predict = rule(config).predict

    def scores(params: Any, state: Any, batch: dict) -> jax.Array:
        outputs, _ = predict(params, state, batch)
        if config.task == "wave":
            return (outputs[:, 0] - batch["labels"]) ** 2
        return 100.0 * (outputs.argmax(-1) == batch["labels"])

    return jax.jit(scores)


@cache
def checkpoint(images: int = 1000, compared: int = 100) -> dict[str, float]:
    """The published ResNet-20 on test images, and in the linear path of a QResNet-20.

    `difference` is the largest between the logits of the two for the first `compared` images.
    """
    test = load("cifar10", train=1, validation=0, test=images).test
    inputs = (test["inputs"] - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
    plain = stack([*option_a_resnet(RESNET20), classifier(10)])
    full = stack([*quadratic_resnet(RESNET20), classifier(10)])
    params, state = from_torch(resnet_weights(20), RESNET20)
    shapes = jax.eval_shape(full.init, jax.random.key(0), inputs[:1])[0]
    apply = jax.jit(plain.apply)
    parts = np.split(inputs, images // compared)
    ours = np.concatenate([apply(params, state, part)[0] for part in parts])
    lifted = jax.jit(full.apply)(with_linear_path(shapes, params), state, parts[0])[0]
    return {
        "accuracy": 100 * float((ours.argmax(-1) == test["labels"]).mean()),
        "difference": float(np.abs(ours[:compared] - lifted).max()),
    }


def program(config: Config) -> Program:
    """One step of one seed, a published batch on every device where the batch is smaller."""
    learner, tx = rule(config), transform(config, 100)
    size = config.batch if config.batch % DEVICES == 0 else config.batch * DEVICES
    shape = (32, 32, 3) if config.task == "cifar10" else (8, 8, 1)
    batch = labelled(size, shape)
    return abstract(learner, tx, batch)


def bench() -> Bench:
    """A six-layer QResNet on digits beside the conventional one, its branches kept or left out."""
    from experiments.peers import quadratic as peer

    config = replace(PRESETS["small"], blocks=(1, 1, 1), widths=(8, 16, 32))
    batch = batches(load("digits").train, config.batch, seed=0)(0)

    def made(**options: Any) -> Rule:
        layers = quadratic_resnet(config.blocks, config.widths, **options)
        return backprop(stack([*layers, classifier(10)]), cross_entropy)

    def of(**options: Any) -> Program:
        learner, tx = made(**options), transform(config, 1000)
        return Program(
            make_step(learner, tx), make_state(learner, tx, jax.random.key(0), batch), batch
        )

    programs = {
        "backprop": of(form="conventional"),
        "quadratic": of(),
        "quadratic, recomputed": of(recompute=True),
        "quadratic, branches left out": of(active=False),
        "compact": of(form="compact"),
    }
    sgd = {"rate": config.learning_rate, "momentum": config.momentum}
    sgd |= {"decay": config.weight_decay, "gamma": config.gamma}

    def beside(name: str, **options: Any) -> Peer:
        return Peer("torch", partial(peer.start, made(**options), programs[name], **sgd))

    peers = {
        "backprop": beside("backprop", form="conventional"),
        "quadratic": beside("quadratic"),
    }
    return Bench(programs, peers)


EXPERIMENT = Experiment(
    slug="relinear",
    title="On Expressivity and Trainability of Quadratic Networks",
    paper="Fan et al., IEEE TNNLS 36(1), 2025, arXiv 2110.06081",
    slots=("model", "transform"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        "A quadratic layer has three times the parameters and products of a conventional one of "
        'the same width; the rows "equal size" are conventional networks with as many parameters.',
        "That quadratic networks are better than conventional ones on CIFAR-10, and that accuracy "
        "rises and then collapses with the rate, are claims of the `paper` preset; they are not "
        "judged at this scale.",
        "From a trained start the full rate ends at chance for every seed although weights shrink "
        "towards the conventional neuron by a tenth a step; from the usual start they hold it.",
        "On the spirals and the wave the conventional network of equal size did better in the "
        "pilot (100 and 99.9 % right, rmse 0.02 and 0.48), so no claim is made there.",
        "Networks with squared activations train at a tenth of the learning rate: at the full rate "
        "they collapsed in the pilot.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
