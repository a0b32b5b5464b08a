"""SLTT and SLTT-K, ICCV 2023: spiking networks trained without the backward routes through time.

Expected (`small`, seeds 0 to 2): test accuracy of BPTT 47.1, SLTT 47.3, SLTT-2 47.6 and SLTT-1
46.7 %; SLTT reserves 27.4 MB whether T is 4 or 256, BPTT 67 and 2711; SLTT-2 and SLTT-1 take 0.71
and 0.54 of SLTT's time. On sounds BPTT gains nothing over SLTT at tau = 1.1 and 3.9 points at
tau = 2, where OTTT is best (77.7 %). All claims hold. About 45 minutes of one busy core.

    python -m experiments table sltt --preset small

The rule is `over_time(backprop(net), T)` (`rules/sltt.py`): each step's gradient is taken within
the step and added up, membranes are carried and never differentiated. The baseline is
backpropagation through time over the same net (`rules/backprop.py`), plain and checkpointed.

Deviations from the paper:
1. `small` trains a net of three convolutions for 4 epochs on 5000 images that were averaged down to
   16 x 16, without augmentation, with T = 4: the paper's ResNet-18 needs an accelerator. Its
   accuracies are not the paper's.
2. Cutout erases a square of 16 x 16 (DeVries and Taylor); the official script takes a variant with
   random shapes and colours.
3. Biases of convolutions start at zero instead of at random; batch normalisation follows every
   convolution, so that they have no influence.
4. float32 throughout, where the official SLTT-K script needs mixed precision.
5. Memory is what the compiler reserves instead of what an allocator saw: exact, and the same at
   every run, but not comparable with the paper's gigabytes.
6. Of the sounds a tenth of the training clips is set aside for validation and not trained on.
7. `imagenet` reads images that were cut to 224 x 224 beforehand, and flips them; the official
   script cuts each anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.harness import (
    Bench,
    Experiment,
    Peer,
    Program,
    Row,
    Run,
    main,
    timing,
)
from experiments.parts.abstract import abstract, labelled
from experiments.parts.sltt_claims import METRICS, claims, figure
from experiments.parts.sltt_data import (
    DATA,
    check_images,
    data_of,
    frames_of,
    input_of,
    normalised,
)
from experiments.parts.sltt_networks import blocks_of, traced_mlp
from experiments.parts.sltt_rows import compared, sounds, varied
from jaxlearn.core import (
    Batch,
    Rule,
    TrainState,
    make_state,
    make_step,
    prepared,
    stack,
)
from jaxlearn.data import Dataset
from jaxlearn.data.augment import augment, compose, cutout, random_crop, random_flip
from jaxlearn.data.batches import Batches, batches, padded
from jaxlearn.data.duration import steps as steps_of
from jaxlearn.objectives import correct, cross_entropy_with_mse
from jaxlearn.rules.backprop import bptt
from jaxlearn.rules.sltt import sltt
from jaxlearn.rules.truncated_bptt import truncated_bptt
from jaxlearn.runtime import Fitted, evaluator, every_device, fit, own_rows

CHIPS = 256
"""Chips that `compile` shares the paper's step over, each with a batch of the published size."""


TARGETS: dict[str, str | float] = {"ones": 1.0, "one-hot": "one-hot"}


@dataclass(frozen=True)
class Config:
    """One row.

    K: steps that teach, 0 for all of them (SLTT-K; 0 for the other methods).
    window: steps that truncated backpropagation goes through.
    tau: time constant of the neurons in steps; the leak is `1 - 1/tau`.
    surrogate: the slope of spikes, with the official script's scale.
    mse_share, mse_target: of the squared error in the loss of each step, against 1 or the label.
    dropout: of spikes, one mask per sequence.
    shrink: images are averaged over windows of so many pixels.
    lengths: the T at which memory is measured.
    first, first_rate, first_decay: duration, rate and weight decay of a stage before the others in
        which time has one step, "" for none.
    trained: False measures memory and time only.
    """

    method: Literal["sltt", "bptt", "bptt_checkpointed", "truncated", "ottt"] = "sltt"
    K: int = 0
    network: Literal[
        "mlp", "cnn", "resnet18", "vgg11", "nf_resnet34", "nf_resnet50", "nf_resnet101"
    ] = "cnn"
    dataset: str = "cifar10"
    T: int = 4
    tau: float = 1.1
    surrogate: Literal["triangle", "rectangle", "sigmoid"] = "triangle"
    duration: str = "4ep"
    batch: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-5
    mse_share: float = 0.05
    mse_target: Literal["ones", "one-hot"] = "ones"
    dropout: float = 0.0
    window: int = 2
    shrink: int = 2
    augmented: bool = False
    train: int | None = 5000
    test: int | None = 2000
    lengths: tuple[int, ...] = (4, 16, 64, 256)
    turns: int = 15
    trained: bool = True
    first: str = ""
    first_rate: float = 0.1
    first_decay: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.K <= self.T:
            raise ValueError(f"K={self.K}; it has to lie in 0..{self.T} (= T), 0 for all steps")
        if self.K and self.method != "sltt":
            raise ValueError(f"K={self.K} needs method='sltt', found {self.method!r}")
        if self.dataset not in DATA:
            raise ValueError(f"dataset={self.dataset!r} is none of {[*DATA]}")
        if self.network not in DATA[self.dataset].networks:
            known = DATA[self.dataset].networks
            raise ValueError(f"network={self.network!r} does not fit {self.dataset}; take {known}")
        if self.method == "ottt" and self.network != "mlp":
            raise ValueError("method='ottt' takes pairs of dense layers and neurons: network='mlp'")
        if self.method == "truncated" and (self.window < 1 or self.T % self.window):
            raise ValueError(f"window={self.window} does not divide T={self.T}")
        if self.tau < 1:
            raise ValueError(f"tau={self.tau}; it has to be 1 or more")
        if not self.lengths or min(self.T, *self.lengths) < 1:
            raise ValueError(f"T={self.T}, lengths={self.lengths}; all have to be 1 or more")
        if self.turns < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"turns={self.turns}, dropout={self.dropout}; turns have to be 1 or more, the "
                "dropout at least 0 and below 1"
            )
        check_images(self)


LONG = 16
"""Steps of time at which the bench has libraries of spiking networks beside it."""
PAPER = Config(
    network="resnet18",
    T=6,
    duration="200ep",
    batch=128,
    shrink=1,
    augmented=True,
    train=None,
    test=None,
    lengths=(2, 6, 12),
)
DVS = partial(replace, PAPER, network="vgg11", duration="300ep", augmented=False, weight_decay=5e-4)
CIFAR100 = replace(PAPER, dataset="cifar100", weight_decay=5e-4)
IMAGENET = replace(
    PAPER,
    network="nf_resnet34",
    dataset="imagenet",
    duration="30ep",
    batch=256,
    learning_rate=1e-3,
    weight_decay=0.0,
    mse_share=0.0,
    lengths=(1, 6),
    first="100ep",
)
PRESETS = {
    "smoke": Config(
        network="mlp",
        dataset="digits",
        duration="60it",
        shrink=1,
        train=640,
        test=None,
        lengths=(4, 16),
        turns=3,
    ),
    "small": Config(),
    "paper": PAPER,
    "cifar100": CIFAR100,
    "dvs-cifar10": DVS(
        dataset="cifar10_dvs",
        T=10,
        dropout=0.3,
        learning_rate=0.05,
        mse_target="one-hot",
        lengths=(2, 10),
    ),
    "dvs-gesture": DVS(dataset="dvs_gesture", T=20, batch=16, dropout=0.4, lengths=(2, 20)),
    "imagenet": IMAGENET,
}
PUBLISHED = {
    PAPER: {"SLTT": 94.44},
    CIFAR100: {"SLTT": 74.38},
    IMAGENET: {"SLTT-1": 66.19},
}
"""The paper's test accuracy by protocol and row."""


def rows(config: Config) -> list[Row]:
    """The compared methods; then other neurons and losses, and in `small` sounds."""
    table = compared(config, PUBLISHED.get(config, {}))
    if config in (PRESETS["smoke"], PRESETS["small"]):
        table += varied(config)
    return table + sounds(config) if config == PRESETS["small"] else table


@cache
def rule_of(config: Config) -> Rule:
    """The method over the network, fed with prepared images."""
    loss = cross_entropy_with_mse(config.mse_share, TARGETS[config.mse_target])
    net, T = stack(blocks_of(config)), config.T
    time: dict[str, Any] = {"time_axis": 1} if DATA[config.dataset].timed else {}
    if config.method == "sltt":
        rule = sltt(net, loss, T, K=config.K or None, **time)
    elif config.method == "truncated":
        rule = truncated_bptt(net, loss, T, config.window, **time)
    elif config.method == "ottt":
        rule = traced_mlp(config, loss, **time)
    else:
        rule = bptt(net, loss, T, checkpoint=config.method == "bptt_checkpointed", **time)
    if not config.augmented:
        return prepared(rule, partial(normalised, config))
    if config.dataset == "imagenet":
        flipped = partial(augment, transform=random_flip)
        return prepared(rule, partial(normalised, config), flipped)
    # cutout erases to the mean: it comes after the normalisation, crop and flip before
    erased = prepared(rule, lambda batch: batch, partial(augment, transform=cutout(16)))
    moved = partial(augment, transform=compose(random_crop(4, "zero"), random_flip))
    return prepared(erased, partial(normalised, config), moved)


@cache
def transform_of(config: Config, steps: int) -> optax.GradientTransformation:
    """SGD with momentum, weight decay, and a rate that falls to 0 along a cosine."""
    rate = optax.cosine_decay_schedule(config.learning_rate, steps)
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(decay, optax.sgd(rate, config.momentum))


def train(config: Config, seeds: Sequence[int], run: Run) -> dict[int, dict[str, float]]:
    """Train one seed after the other; vmap would make SLTT-K compute all steps."""
    data, results = data_of(config), {}
    example = batches(data.train, config.batch, seed=0)(0)
    memory = {
        f"temp_mb_{own.T}": temp_bytes(own, frames_of(own, example)) for own in at_lengths(config)
    }
    compare = race(config, example)
    for seed in seeds:
        found = {"time_vs_sltt": compare()} | {name: b / 1e6 for name, b in memory.items()}
        if config.trained:
            found = train_one(config, data, seed, run) | found
        results[seed] = found
        run.record(seed, found)
    return results


def at_lengths(config: Config) -> list[Config]:
    """The row at each T that memory is measured at, as far as its method has that T."""
    whole = config.window if config.method == "truncated" else 1
    lengths = [T for T in config.lengths if T >= config.K and T % whole == 0]
    return [replace(config, T=T, lengths=(T,)) for T in lengths]


def train_one(config: Config, data: Dataset, seed: int, run: Run) -> dict[str, float]:
    """Accuracy on the test images after the last step and, for SLTT, the cosine on the way."""
    stream = batches(data.train, config.batch, seed=seed)
    fitted = fitted_one(config, stream, seed, run)
    rule = rule_of(config)
    judge = evaluator(rule.predict, {"accuracy": correct}, padded(data.test, 500))
    found = {"accuracy": 100 * judge(fitted.state)["accuracy"]}
    cosines = [row["cosine"] for row in fitted.history if "cosine" in row]
    return found | ({"cosine": float(np.mean(cosines))} if cosines else {})


def first_of(config: Config) -> Config:
    """The stage before: with one step in time every method has the same gradient."""
    plain = replace(config, method="sltt", K=0, first="", T=1, lengths=(1,), duration=config.first)
    return replace(plain, learning_rate=config.first_rate, weight_decay=config.first_decay)


def fitted_one(config: Config, stream: Batches, seed: int, run: Run) -> Fitted:
    """The state after the last step, from that of the first stage where there is one."""
    steps = steps_of(config.duration, stream.steps_per_epoch)
    rule, tx = rule_of(config), transform_of(config, steps)
    state = jax.jit(make_state, static_argnums=(0, 1))(rule, tx, jax.random.key(seed), stream(0))
    if config.first:
        before = fitted_one(first_of(config), stream, seed, Run(run.folder(seed) / "first"))
        state = state._replace(params=before.state.params, state=before.state.state)
    return fit(
        make_step(rule, tx),
        state,
        own_rows(stream),
        mesh=every_device(),
        steps=steps,
        evaluate=cosine_with_bptt(config, stream),
        evaluate_every=max(1, steps // 8),
        workdir=run.folder(seed),
        config=asdict(config),
        progress=run.progress,
        name=config.method,
    )


def cosine_with_bptt(
    config: Config, stream: Batches
) -> Callable[[TrainState], dict[str, float]] | None:
    """The cosine between SLTT's gradient and BPTT's on the first batch; only for plain SLTT."""
    if config.method != "sltt" or config.K:
        return None
    rules, batch = (rule_of(config), rule_of(replace(config, method="bptt"))), stream(0)
    return lambda state: {"cosine": float(_cosine(rules, state, batch))}


@partial(jax.jit, static_argnums=0)
def _cosine(rules: tuple[Rule, Rule], state: TrainState, batch: Batch) -> jax.Array:
    a, b = (rule.signal(state.params, state.state, batch, state.key)[0] for rule in rules)
    return jnp.divide(optax.tree.vdot(a, b), optax.tree.norm(a) * optax.tree.norm(b))


def program_over(config: Config, batch: Batch) -> Program:
    """The training step of a config with its first state, for a batch like the given one."""
    rule, tx = rule_of(config), transform_of(config, 1000)
    state = jax.jit(partial(make_state, rule, tx))(jax.random.key(0), batch)
    return Program(make_step(rule, tx), state, batch)


def abstract_program(config: Config, batch: Batch) -> Program:
    """The same from shapes alone."""
    return abstract(rule_of(config), transform_of(config, 1000), batch)


def temp_bytes(config: Config, batch: Batch) -> int:
    """Bytes that the compiler reserves for temporaries of one training step."""
    made = abstract_program(config, batch)
    compiled = jax.jit(made.step, donate_argnums=0).lower(made.state, made.batch).compile()
    memory: Any = compiled.memory_analysis()
    return memory.temp_size_in_bytes


def race(config: Config, batch: Batch) -> Callable[[], float]:
    """Compile the step of a config and SLTT's; the result times both in turn: ours / SLTT's."""
    plain = replace(config, method="sltt", K=0)
    if (config.method, config.K) == (plain.method, plain.K):
        return lambda: 1.0
    ours, theirs = _runner(config, batch), _runner(plain, batch)

    def compare() -> float:
        pairs = [(timing.clock(ours), timing.clock(theirs)) for _ in range(config.turns + 1)]
        return timing.ratio(*map(list, zip(*pairs[1:], strict=True)))  # the first one warms up

    return compare


def _runner(config: Config, batch: Batch) -> Callable[[], object]:
    made = program_over(config, batch)
    step = jax.jit(made.step)
    carried = [made.state]

    def once() -> object:
        carried[0], metrics = step(carried[0], made.batch)
        return metrics

    return once


def program(config: Config) -> Program:
    """One step for a pod, with the published batch on each of 256 chips."""
    shape, dtype = input_of(config)
    # ImageNet's published batch is that of all devices together
    size = config.batch * (1 if config.dataset == "imagenet" else CHIPS)
    return abstract_program(config, labelled(size, shape, dtype))


def bench() -> Bench:
    """The step of every row of the small preset, the first being BPTT; two beside PyTorch.

    At `LONG` steps of time they are beside libraries of spiking networks as well, and so is
    checkpointed BPTT, beside BPTT as these have it.
    """
    from experiments.peers import spiking

    config = PRESETS["small"]
    example = batches(data_of(config).train, config.batch, seed=0)(0)
    configs = {
        {"BPTT": "backprop"}.get(row.name, row.name): row.config for row in compared(config, {})
    }
    taught = ("backprop", "SLTT")
    long = {f"{name}, T={LONG}": name for name in ("backprop", "BPTT checkpointed", "SLTT")}
    configs |= {name: replace(configs[of], T=LONG) for name, of in long.items()}
    programs = {name: program_over(own, example) for name, own in configs.items()}
    shared = {
        "images": normalised(config, example)["inputs"],
        "leak": 1 - 1 / config.tau,
        "share": config.mse_share,
        "rate": config.learning_rate,
        "decay": config.weight_decay,
    }

    def peer(name: str, package: str) -> Peer:
        own = {"T": configs[name].T, "online": name.startswith("SLTT"), "package": package}
        return Peer(package, partial(spiking.start, programs[name], **shared, **own))

    peers = {name: [peer(name, "torch")] for name in taught}
    peers |= {name: [peer(name, package) for package in spiking.NEURONS] for name in long}
    return Bench(programs, peers)


EXPERIMENT = Experiment(
    slug="sltt",
    title="Towards Memory- and Time-Efficient Backpropagation for Training Spiking Neural Networks",
    paper="Meng, Xiao, Yan, Wang, Lin, Luo; ICCV 2023; arXiv 2302.14311",
    slots=("model", "rule"),
    Config=Config,
    presets={
        "smoke": PRESETS["smoke"],
        "small": PRESETS["small"],
        "paper": PRESETS["paper"],
        "cifar100": PRESETS["cifar100"],
        "dvs-cifar10": PRESETS["dvs-cifar10"],
        "dvs-gesture": PRESETS["dvs-gesture"],
        "imagenet": PRESETS["imagenet"],
    },
    rows=rows,
    train=train,
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=(
        "small trains three convolutions for 4 epochs on 5000 images averaged down to 16 x 16, "
        "with T = 4 and no augmentation: the paper's ResNet-18 needs an accelerator, and its "
        "accuracies are not to be compared",
        "Cutout erases 16 x 16 pixels; the official script takes random shapes and colours",
        "biases of convolutions start at zero; normalisation follows each, so they do not matter",
        "float32 throughout, where the official SLTT-K script needs mixed precision",
        "memory is what the compiler reserves, exact but not comparable with the paper's gigabytes",
        "of the sounds a tenth of the training clips is set aside and not trained on",
        "imagenet reads images that were cut to 224 x 224 beforehand, and flips them; the official "
        "script cuts each anew",
    ),
    notes=(
        "BPTT checkpointed has BPTT's gradient and is not trained again: memory and time only.",
        "compile gives each of 256 chips the published batch, on ImageNet its share of 256 images.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
