"""GraNet: sparse training by gradual pruning and neuroregeneration, beside its baselines.

Expected (preset `small`, LeNet-300-100 on Fashion-MNIST at 2 % of the weights, seeds 0 to 2): test
accuracy in percent of dense 87.5, GMP 86.6, GraNet(0) 86.0, GraNet(0.5) 85.9, RigL 83.7, SET 83.7,
static ERK 81.9. GMP ends above GraNet at this scale (in the paper within 0.3 points), so
the claims compare both with RigL, and RigL with a static mask.

    python -m experiments table granet --preset small
    python -m experiments table granet --preset variants

`variants` has masks at initialisation (SNIP, GraSP, SynFlow) and the variants of GraNet, without
a claim on accuracy. Both tables together took 25 minutes on one of two busy cores.

Deviations from the paper are listed in `DEVIATIONS`, each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from experiments.harness import Bench, Experiment, Peer, Program, Row, Run, dots, main
from experiments.parts.abstract import abstract
from experiments.parts.granet_choice import CHOICE, by_sorting, choice
from experiments.parts.granet_claims import METRICS, claims
from experiments.parts.granet_plasticity import plasticity_study
from jaxlearn.core import Model, Rule, TrainState, make_state, make_step, prepared
from jaxlearn.data import load
from jaxlearn.data.augment import augment, compose, random_crop, random_flip
from jaxlearn.data.batches import batches, padded
from jaxlearn.data.moments import MOMENTS
from jaxlearn.models.lenet import lenet_300_100
from jaxlearn.models.resnet50 import resnet50
from jaxlearn.models.vgg import vgg
from jaxlearn.objectives import correct, cross_entropy
from jaxlearn.procedures.seeds import over_seeds, seed_of, stacked
from jaxlearn.rules import backprop
from jaxlearn.runtime import evaluator, every_device, fit, own_rows
from jaxlearn.transforms.gmp import gmp
from jaxlearn.transforms.granet import granet
from jaxlearn.transforms.prune_at_init import prune_at_init
from jaxlearn.transforms.rigl import rigl, rigl_itop
from jaxlearn.transforms.set import sparse_evolutionary
from jaxlearn.transforms.sparsity import masks
from jaxlearn.transforms.sparsity.distributions import budget
from jaxlearn.transforms.sparsity.schedules import cosine
from jaxlearn.transforms.sparsity.scores import Score, gradient_of, grasp, snip
from jaxlearn.transforms.sparsity.synflow import synflow
from jaxlearn.transforms.static_sparse import static_sparse

DEVIATIONS = (
    "Accuracy is that of the last step; the released code reports the best test epoch after the "
    "final prune, which selects on test data.",
    "The schedule reaches the target exactly at its last event and masks have exact counts; the "
    "released code stops one event early, keeps one weight less and draws Bernoulli masks "
    "(`code_parity=True` does the same).",
    "RigL follows its own paper: a step that moves the masks does not update the weights, rate "
    "0.3, until three quarters of training, at `paper` every 100 steps. Its learning rate drops "
    "later by the number of events.",
    "SET swaps after the weight update and grows from 0 with the rate on RigL's cosine, as in the "
    "comparisons of RigL, instead of a constant rate and random new weights.",
    "`small` is LeNet-300-100 on Fashion-MNIST with 54,000 training images, 4 epochs and an "
    "interval of 60 steps: the paper's networks take days on two cores.",
    "The rows `pruned_early` and `pruned_late` keep the momentum when the dense network is pruned; "
    "the rows `plasticity_early` and `plasticity_late` restart from a checkpoint as the paper "
    "does, for one epoch instead of 30.",
    "Growth by momentum keeps a decayed sum of the dense gradients; the released code looks at the "
    "optimizer's momentum, which is zero wherever a weight could grow.",
    "LeNet's initial weights are a normal cut off at 2.3 of its standard deviations, with the "
    "variance of kaiming's.",
    '`removal="set"` is that of SET, half the smallest positive and half the largest negative '
    "weights; the released code's variant of that name takes half the smallest magnitudes and half "
    "the most negative weights.",
    "Of a dense network, `grow` gives back all weights that were pruned, from 0, as the released "
    "code does: as many as were pruned are grown, and there are no others.",
    "SNIP and GraSP take one batch, the same for all seeds. The three masks at initialisation have "
    "exact counts over all layers.",
)
METHODS = ("dense", "static", "set", "rigl", "gmp", "granet_0", "granet_0.5")
AT_INIT = ("snip", "grasp", "synflow")
"""Static masks, chosen from the weights that training starts with."""
VARIANTS = (
    "rigl_itop",
    "gmp_uniform",
    "granet_uniform",
    "granet_random",
    "granet_momentum",
    "granet_set",
)
PARITY = ("gmp_parity", "granet_parity")
"""With the counts of the released code."""
TOY = ("grasp", "rigl_itop", "gmp_uniform", "granet_uniform", "granet_momentum", "gmp_parity")
"""Of all these, the rows of `smoke`."""
REFERENCES = ("static", "gmp", "granet_0")
"""The methods that `variants` shows its own rows beside."""
WHEN = {"early": 0.45, "late": 0.95}
"""The shares of training at which plasticity is measured: before and after the rate has dropped."""
RATIOS = {"mlp": (0.8,), "lenet": (0.8, 0.98)}
"""Of the plasticity study, by network."""
PUBLISHED_RATIOS = (0.2, 0.5, 0.8, 0.9, 0.98)
DEVICES = 256


@dataclass(frozen=True)
class Config:
    """One training run.

    `density` is the share of weights left. `drops` are the shares of training after which the
    learning rate is divided by 10, `stop` the one by which the pruning schedules end. With
    `prune_at` the method has to be "dense": at that share of training `1 - density` of the weights
    are pruned at once and training goes on for `recovery_epochs` at the same learning rate. With
    "plasticity" it restarts there without momentum, once for every kind of prune and ratio.
    """

    method: Literal[
        "dense",
        "static",
        "set",
        "rigl",
        "rigl_itop",
        "gmp",
        "gmp_uniform",
        "granet_0",
        "granet_0.5",
        "granet_uniform",
        "granet_random",
        "granet_momentum",
        "granet_set",
        "granet_parity",
        "gmp_parity",
        "snip",
        "grasp",
        "synflow",
        "plasticity",
    ] = "granet_0"
    network: Literal["mlp", "lenet", "vgg19", "resnet50"] = "lenet"
    dataset: Literal["digits", "fashion_mnist", "cifar10"] = "fashion_mnist"
    density: float = 0.02
    epochs: int = 4
    batch: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    drops: tuple[float, ...] = (0.5, 0.75)
    interval: int = 60
    stop: float = 0.5
    train: int | None = None
    test: int | None = None
    prune_at: float = 0.0
    recovery_epochs: int = 1
    seeds_together: bool = True

    def __post_init__(self):
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be above 0 and at most 1, found {self.density}")
        if min(self.epochs, self.batch, self.interval) < 1:
            raise ValueError("epochs, batch and interval must be at least 1")
        if self.prune_at and self.method not in ("dense", "plasticity"):
            raise ValueError(f"prune_at needs method='dense', found {self.method!r}")
        if not 0 <= self.prune_at < 1:
            raise ValueError(f"prune_at is a share of training below 1, found {self.prune_at}")
        if self.method == "plasticity" and not self.prune_at:
            raise ValueError("method='plasticity' needs prune_at, the share of training to stop at")


PRESETS = {
    "smoke": Config(
        network="mlp", dataset="digits", density=0.1, train=640, epochs=6, batch=64, interval=10
    ),
    "small": Config(),
    "variants": Config(method="granet_uniform"),
    "paper": Config(
        network="vgg19", dataset="cifar10", epochs=160, interval=1000, seeds_together=False
    ),
}
PAPER = {
    ("resnet50", 1.0, "dense"): 94.75,
    ("resnet50", 0.05, "gmp"): 94.52,
    ("resnet50", 0.05, "rigl"): 93.86,
    ("resnet50", 0.05, "granet_0.5"): 94.38,
    ("resnet50", 0.05, "granet_0"): 94.44,
    ("resnet50", 0.05, "snip"): 90.86,
    ("resnet50", 0.05, "grasp"): 91.32,
    ("resnet50", 0.05, "synflow"): 91.22,
    ("vgg19", 1.0, "dense"): 93.85,
    ("vgg19", 0.1, "gmp"): 93.59,
    ("vgg19", 0.1, "set"): 92.46,
    ("vgg19", 0.1, "rigl"): 93.38,
    ("vgg19", 0.1, "granet_0"): 93.80,
}


def rows(config: Config) -> list[Row]:
    """The methods; at `paper` for both networks and three densities.

    A preset whose method is a variant has the masks at initialisation and the variants instead.
    """
    if config.dataset == "cifar10":
        return _paper_rows(config)
    named = lambda names: [Row(name, _of(config, name, config.density)) for name in names]
    if config.method in VARIANTS:
        return named(REFERENCES + AT_INIT + VARIANTS)
    toy = config.network == "mlp"
    table = named(METHODS + (TOY if toy else ()))
    for when, share in WHEN.items():
        pruned = replace(config, method="dense", density=0.2, prune_at=share)
        table.append(Row(f"pruned_{when}", pruned))
        if not toy or when == "early":
            study = replace(config, method="plasticity", density=1.0, prune_at=share)
            table.append(Row(f"plasticity_{when}", study))
    return table


def _of(config: Config, method: Any, left: float) -> Config:
    return replace(config, method=method, density=1.0 if method == "dense" else left)


def _paper_rows(config: Config) -> list[Row]:
    table = []
    for network in ("vgg19", "resnet50"):
        for left in (1.0, 0.1, 0.05, 0.02):
            for method in METHODS[:1] if left == 1 else METHODS[1:] + AT_INIT + VARIANTS:
                own = replace(_of(config, method, left), network=network)
                if method == "rigl":
                    own = replace(own, interval=100)
                name = f"{network} {method}" + ("" if left == 1 else f" {100 * left:g}%")
                known = PAPER.get((network, left, method))
                table.append(Row(name, own, {} if known is None else {"accuracy": known}))
        for when, share in WHEN.items():
            study: dict[str, Any] = {"method": "plasticity", "density": 1.0, "prune_at": share}
            own = replace(config, network=network, recovery_epochs=30, **study)
            table.append(Row(f"{network} plasticity_{when}", own))
    return table


def model(config: Config) -> Model:
    """The network; images are channels-last."""
    if config.network == "mlp":
        return lenet_300_100(widths=(32,))
    return {"lenet": lenet_300_100, "vgg19": vgg, "resnet50": resnet50}[config.network]()


def rule(config: Config) -> Rule:
    """Backpropagation; on CIFAR-10 with flips, reflecting crops and normalisation."""
    plain = backprop(model(config), cross_entropy)
    if config.dataset != "cifar10":
        return plain
    mean, std = map(jnp.array, MOMENTS["cifar10"])
    moves = compose(random_crop(4, "reflect"), random_flip)
    normal = lambda batch: batch | {"inputs": (batch["inputs"] - mean) / std}
    return prepared(plain, normal, lambda batch, key: augment(batch, key, moves))


def optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum, weight decay and a rate that drops by 10."""
    falls = {round(share * steps): 0.1 for share in config.drops}
    rate = optax.piecewise_constant_schedule(config.learning_rate, falls)
    last = round(config.prune_at * steps) or steps
    held = lambda count: rate(jnp.minimum(count, last - 1))
    sgd = optax.sgd(held, config.momentum, nesterov=True)
    return optax.chain(optax.add_decayed_weights(config.weight_decay), sgd)


def transform(config: Config, steps: int, key: jax.Array) -> optax.GradientTransformation:
    """The method around the optimizer."""
    inner, left, interval = optimizer(config, steps), config.density, config.interval
    stop = round(config.stop * steps)
    moving = {"density": left, "key": key, "interval": interval}
    falling = {"final_density": left, "interval": interval, "stop": stop}
    match config.method:
        case "dense" if config.prune_at:
            at = round(config.prune_at * steps)
            return gmp(inner, final_density=left, start=at - 1, stop=at, interval=1)
        case "dense" | "plasticity":
            return inner
        case "snip" | "grasp" | "synflow":
            rounds = 100 if config.method == "synflow" else 1
            return prune_at_init(inner, _score(config), density=left, rounds=rounds)
        case "static":
            return static_sparse(inner, density=left, key=key)
        case "set":
            last = round(0.75 * steps)
            rate = cosine(0.3, 0.0, last)
            return sparse_evolutionary(inner, stop=last, rate=rate, distribution="erk", **moving)
        case "rigl":
            return rigl(inner, stop=round(0.75 * steps), **moving)
        case "rigl_itop":
            return rigl_itop(inner, total_steps=steps, **moving)
        case "gmp" | "gmp_uniform" | "gmp_parity":
            parity = config.method == "gmp_parity"
            return gmp(inner, code_parity=parity, **_scope(config), **falling)
        case "granet_0.5":
            return granet(inner, total_steps=steps, initial_density=0.5, key=key, **falling)
        case "granet_0" | "granet_uniform" | "granet_parity":
            parity, scope = config.method == "granet_parity", _scope(config)
            return granet(inner, total_steps=steps, code_parity=parity, **scope, **falling)
        case "granet_random" | "granet_momentum":
            growth = config.method.removeprefix("granet_")
            return granet(inner, total_steps=steps, growth=growth, key=key, **falling)
        case "granet_set":
            return granet(inner, total_steps=steps, removal="set", **falling)
    raise ValueError(f"unknown method {config.method!r}")


def _scope(config: Config) -> dict[str, Any]:
    """Over all layers, or in each of them with the output layer at density 0.2 towards the end."""
    if not config.method.endswith("uniform"):
        return {}
    last = {"mlp": "Dense_1", "lenet": "Dense_2"}.get(config.network, "Dense_0")
    return {"scope": "uniform", "classifier": lambda path: path.startswith(last)}


def _score(config: Config) -> Score:
    """The score of a mask at initialisation, on the first batch of seed 0 where it needs one."""
    if config.method == "synflow":
        return synflow(model(config), _blank(config, 1)["inputs"])
    gradient = gradient_of(rule(config), _first_batch(config))
    return snip(gradient) if config.method == "snip" else grasp(gradient)


def _first_batch(config: Config) -> dict[str, Any]:
    data = load(config.dataset, train=config.train, test=config.test)
    return batches(data.train, config.batch, seed=0)(0)


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train the seeds, together by `vmap` where the network is small."""
    groups = [list(seeds)] if config.seeds_together else [[seed] for seed in seeds]
    results: dict[int, dict[str, float]] = {}
    for group in groups:
        for seed, found in zip(group, _train_group(config, group, run), strict=True):
            results[seed] = found
            run.record(seed, found)
    return results


def _train_group(config: Config, seeds: list[int], run: Run) -> list[dict[str, float]]:
    data = load(config.dataset, train=config.train, test=config.test)
    streams = [batches(data.train, config.batch, seed=seed) for seed in seeds]
    whole = stacked(streams)
    feed = own_rows(whole)
    steps = config.epochs * streams[0].steps_per_epoch
    learner = rule(config)
    sparse = partial(transform, config, steps)
    state, step = over_seeds(learner, sparse, seeds, streams[0](0))
    judge = evaluator(learner.predict, {"accuracy": correct}, padded(data.test, 1000))
    accuracies = lambda state: [
        100 * judge(seed_of(state, i))["accuracy"] for i in range(len(seeds))
    ]
    home = run.folder(seeds)

    def until(end: int, state: TrainState, folder: Path) -> TrainState:
        options = {"workdir": folder, "progress": run.progress, "name": config.method}
        return fit(step, state, feed, steps=end, mesh=every_device(), **options).state

    if not config.prune_at:
        state = until(steps, state, home)
        counts = [_counts(config, seed_of(state, i)) for i in range(len(seeds))]
        return [{"accuracy": a, **n} for a, n in zip(accuracies(state), counts, strict=True)]
    at = round(config.prune_at * steps)
    recovery = config.recovery_epochs * streams[0].steps_per_epoch
    if config.method == "plasticity":
        stopped = until(at, state, home / "before")
        return plasticity_study(
            learner,
            optimizer(config, steps),
            stopped,
            whole,
            at + recovery,
            accuracies,
            RATIOS.get(config.network, PUBLISHED_RATIOS),
            workdir=home,
            progress=run.progress,
        )
    state = until(at - 1, state, home / "before")
    before = accuracies(state)
    after = accuracies(until(at + recovery, state, home / "after"))
    pairs = zip(before, after, strict=True)
    return [{"accuracy": now, "recovery": now - was} for was, now in pairs]


def _counts(config: Config, state: TrainState) -> dict[str, float]:
    """Density, active weights beyond `floor(N * density)`, and non-zero weights off the masks."""
    kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim in (2, 4)]
    total = sum(kernel.size for kernel in kernels)
    if config.method == "dense":
        return {"density": 1.0}
    on = jax.tree.leaves(masks(state.opt_state))
    active = sum(int(mask.sum()) for mask in on)
    stray = sum(int(((k != 0) & ~m).sum()) for k, m in zip(kernels, on, strict=True))
    excess = active - budget(total, config.density)
    return {"density": active / total, "excess": excess, "stray": stray}


def program(config: Config) -> Program:
    """One step of one seed, a published batch on every device where the batch is smaller."""
    whole = config.batch if config.batch % DEVICES == 0 else config.batch * DEVICES
    tx = transform(config, 100 * config.interval, jax.random.key(0))
    return abstract(rule(config), tx, jax.eval_shape(lambda: _blank(config, whole)))


def _blank(config: Config, size: int) -> dict[str, jax.Array]:
    shapes = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
    return {
        "inputs": jnp.zeros((size, *shapes[config.dataset])),
        "labels": jnp.zeros(size, jnp.int32),
        "index": jnp.zeros(size, jnp.int32),
    }


def bench() -> Bench:
    """Dense, GraNet between events and with an event at every step: LeNet, and VGG-19 as published.

    The last row chooses a fifth of 25 million weights, beside the same by a full sort.
    """
    from experiments.peers import dense

    config, between = PRESETS["small"], "granet between events"
    rows = _timed("", config) | _timed(", VGG-19", PRESETS["paper"])
    sgd = {"rate": config.learning_rate, "momentum": config.momentum, "nesterov": True}

    def peer(name: str, *, masked: bool) -> Peer:
        options = sgd | {"decay": config.weight_decay, "masked": masked}
        return Peer("torch", partial(dense.start, rule(config), rows[name], **options))

    peers = {name: peer(name, masked=name == between) for name in ("backprop", between)}
    return Bench({**rows, CHOICE: (chosen := choice())}, peers | {CHOICE: by_sorting(chosen)})


def _timed(suffix: str, preset: Config) -> dict[str, Program]:
    preset = replace(preset, density=0.1)
    batch = _blank(preset, preset.batch)
    batch["inputs"] = jax.random.normal(jax.random.key(0), batch["inputs"].shape)

    def of(method: Any, interval: int) -> Program:
        own = replace(preset, method=method, interval=interval)
        learner, tx = rule(own), transform(own, 10**6, jax.random.key(0))
        make = jax.jit(partial(make_state, learner, tx))
        return Program(make_step(learner, tx), make(jax.random.key(0), batch), batch)

    return {
        "backprop" + suffix: of("dense", 60),
        "granet between events" + suffix: of("granet_0", 10**5),
        "granet at an event" + suffix: of("granet_0", 1),
    }


EXPERIMENT = Experiment(
    slug="granet",
    title="Sparse Training via Boosting Pruning Plasticity with Neuroregeneration",
    paper="Liu et al., NeurIPS 2021, arXiv 2106.10404",
    slots=("transform",),
    Config=Config,
    presets={
        "smoke": PRESETS["smoke"],
        "small": PRESETS["small"],
        "variants": PRESETS["variants"],
        "paper": PRESETS["paper"],
    },
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=partial(dots, metrics={"accuracy": "test accuracy, %", "recovery": "recovery, points"}),
    metrics=METRICS,
    deviations=DEVIATIONS,
    notes=(
        "A mask saves neither time nor memory here: products are dense, masks add a byte per "
        "weight, and an event 5 to 28 bytes while it lasts. What is measured is accuracy at a "
        "number of weights. Between events a step takes 0.99 of the dense one's time for VGG-19 "
        "and 1.14 for LeNet-300-100 (`bench`), whose 3.4 ms show the masks' pass over the weights.",
        "`variants`: growth at random ends where growth by gradient does, so that at this scale "
        "the gain over a static mask is that of pruning late. GraSP keeps the weights of the "
        "largest curvature, for which the rate of all rows is too high: on seed 100 it ended at "
        "10 %, with a tenth of the rate at 73 %.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
