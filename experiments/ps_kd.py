"""PS-KD, ICCV 2021: a network refines its own targets with what it said an epoch ago.

Expected (`small`, seeds 0 to 2): against cross-entropy PS-KD's negative log-likelihood is 0.66 to
0.77, its calibration error 9.6 to 11.2 (x 100), its AURC 47.3 to 48.6 (x 1000), its error 17.3 to
17.4 %; all claims hold. At this size CS-KD and a fixed weight calibrate better (2.1 and 2.0): in 40
epochs the linear weight leaves the early ones to hard labels. About 2 minutes of one idle core.
A pilot on seed 100 had NLL 18 % and ECE 15 % below; the margin for ECE was set to 10 % after it.

    python -m experiments table ps-kd --preset small

The rule `ps_kd(backprop(net, remembered(soft_cross_entropy)))` (`rules/ps_kd.py`) keeps the last
prediction for every training example in the state and mixes it into the example's target, with a
weight that grows linearly over the epochs to `alpha`. Beside it: plain cross-entropy, label
smoothing, CS-KD (`rules/cs_kd.py`), TF-KD (`rules/taught_by.py`), the same with a fixed weight and
with a snapshot of the last epoch's weights as the teacher; and PS-KD's targets under greedy local
learning, where every layer's own classifier is taught them. `--config.mixing` adds Cutout or
CutMix.

Deviations from the paper:
1. `small` trains a perceptron of two hidden layers for 40 epochs on 2500 images of Fashion-MNIST
   without moving them, so that cross-entropy overfits. Its figures are not the paper's.
2. The last epoch counts; the released code keeps the best epoch on the test images.
3. TF-KD's weight and temperature (0.5 and 4) are ours.
4. A CutMix picture is of two examples: what is predicted for it is stored for neither.
5. CS-KD's pairs are an example of the batch and another one of its class from the whole set.
6. No validation images are cut off in `paper`.
7. `compile` has 16 examples on each of 256 chips, a batch of 4096.
8. Detection and translation are no rows: their data and networks are not part of this library. The
   rule teaches tokens too, and `top` stores the largest probabilities of a large vocabulary alone.
"""

from collections.abc import Callable
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
    dots,
    each_seed,
    main,
)
from experiments.parts.abstract import abstract, labelled
from experiments.parts.ps_kd_claims import METRICS, claims
from experiments.parts.ps_kd_published import PAPER
from jaxlearn.analysis.calibration import aurc, ece, excess_aurc, nll, top_error
from jaxlearn.core import (
    Batch,
    Key,
    Model,
    Rule,
    TrainState,
    from_linen,
    make_state,
    make_step,
    prepared,
    stack,
)
from jaxlearn.data import Dataset, load
from jaxlearn.data.augment import Transform, augment, compose, cutout, random_crop, random_flip
from jaxlearn.data.batches import Batches, batches, padded
from jaxlearn.data.class_pairs import PARTNER, with_partners
from jaxlearn.data.cutmix import cutmix
from jaxlearn.data.moments import MOMENTS
from jaxlearn.models.cifar_bottleneck import RESNEXT29, cifar_bottleneck
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.densenet import densenet
from jaxlearn.models.preact_resnet import preact_resnet
from jaxlearn.models.pyramidnet import pyramidnet
from jaxlearn.models.small_cnn import FlatLinear, FlatRelu, small_cnn
from jaxlearn.objectives import (
    cross_entropy,
    distillation,
    label_smoothing,
    remembered,
    soft_cross_entropy,
)
from jaxlearn.rules import backprop, cs_kd, greedy, ps_kd, taught_by, with_teacher
from jaxlearn.rules.ps_kd import Schedule, Teacher
from jaxlearn.runtime import every_device, fit, own_rows

COMPILED = 4096
"""Examples of the batch that `compile` shares over the chips."""
CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}
SIZES = {"digits": 1294, "fashion_mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1)}
Network = Literal["mlp", "cnn", "resnet18", "resnet101", "densenet121", "resnext29", "pyramidnet"]
Method = Literal["ce", "smoothing", "cs_kd", "tf_kd", "ps_kd"]


@dataclass(frozen=True)
class Config:
    """One row.

    schedule, teacher, alpha: of PS-KD.
    local: every layer learns from a classifier of its own.
    mixing: what is done to pictures beside crop and flip.
    crop: pixels of zeros around a picture before it is cut, and flipped at random; 0 leaves both
        out. square: side of Cutout.
    judged: the part that is measured; pilots look at validation images.
    """

    method: Method = "ps_kd"
    schedule: Schedule = "linear"
    teacher: Teacher = "stored"
    alpha: float = 0.8
    local: bool = False
    mixing: Literal["none", "cutout", "cutmix"] = "none"
    network: Network = "mlp"
    dataset: Literal["digits", "fashion_mnist", "cifar10", "cifar100"] = "fashion_mnist"
    epochs: int = 40
    batch: int = 128
    learning_rate: float = 0.05
    weight_decay: float = 5e-4
    drops: tuple[float, ...] = (0.5, 0.75)
    crop: int = 0
    square: int = 8
    train: int | None = 2500
    validation: int = 2000
    test: int | None = None
    judged: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or not 0 <= self.alpha <= 1:
            raise ValueError(
                f"epochs={self.epochs} and batch={self.batch} have to be at least 1 and "
                f"alpha={self.alpha} in [0, 1]"
            )
        if self.local and self.method not in ("ce", "ps_kd"):
            raise ValueError(f"local=True needs method 'ce' or 'ps_kd', found {self.method!r}")
        if self.mixing == "cutmix" and self.method not in ("ce", "ps_kd"):
            raise ValueError(f"cutmix needs method 'ce' or 'ps_kd', found {self.method!r}")


PRESETS = {
    "smoke": Config(
        dataset="digits", epochs=3, batch=64, crop=1, square=3, train=256, validation=64, test=128
    ),
    "small": Config(),
    "paper": Config(
        network="resnet18",
        dataset="cifar100",
        epochs=300,
        learning_rate=0.1,
        crop=4,
        square=16,
        train=None,
        validation=0,
    ),
}


def rows(config: Config) -> list[Row]:
    """The methods, PS-KD's variants and compositions; at `paper` on five networks."""
    if config.dataset == "cifar100":
        return _paper_rows(config)
    of = partial(replace, config)
    table = {name: of(method=method) for name, method in METHODS.items()}
    table |= {
        "PS-KD, fixed weight": of(schedule="fixed"),
        "PS-KD, snapshot": of(teacher="snapshot"),
        "PS-KD, greedy": of(local=True),
    }
    if config.dataset == "digits":  # smoke: what the others are made of, and CutMix
        table = {name: table[name] for name in ("TF-KD", "PS-KD, snapshot")}
        table["PS-KD + CutMix"] = of(mixing="cutmix")
    return [Row(name, own) for name, own in table.items()]


METHODS: dict[str, Method] = {
    "CE": "ce",
    "label smoothing": "smoothing",
    "CS-KD": "cs_kd",
    "TF-KD": "tf_kd",
    "PS-KD": "ps_kd",
}


def _paper_rows(config: Config) -> list[Row]:
    networks = ("resnet18", "resnet101", "densenet121", "resnext29", "pyramidnet")
    methods = [
        Row(
            f"{network} {name}",
            replace(config, network=network, method=method),
            PAPER[network, method],
        )
        for network in networks
        for name, method in METHODS.items()
    ]
    of = partial(replace, config, network="resnet18")
    others = {
        "PS-KD, fixed weight": of(schedule="fixed"),
        "PS-KD, snapshot": of(teacher="snapshot"),
        "CE + Cutout": of(method="ce", mixing="cutout"),
        "PS-KD + Cutout": of(mixing="cutout"),
        "CE + CutMix": of(method="ce", mixing="cutmix"),
        "PS-KD + CutMix": of(mixing="cutmix"),
    }
    return methods + [Row(f"resnet18 {name}", own) for name, own in others.items()]


@cache
def layers_of(config: Config) -> tuple[list[Model], Model]:
    """The layers of the network, and its classifier."""
    classes = CLASSES[config.dataset]
    if config.network in ("mlp", "cnn"):
        small = [from_linen(FlatRelu(100)) for _ in range(2)]
        return small if config.network == "mlp" else small_cnn(), from_linen(FlatLinear(classes))
    build: dict[str, Callable[[], list[Model]]] = {
        "resnet18": preact_resnet,
        "resnet101": cifar_bottleneck,
        "densenet121": densenet,
        "resnext29": partial(cifar_bottleneck, RESNEXT29, groups=8),
        "pyramidnet": pyramidnet,
    }
    return build[config.network](), classifier(classes)


@cache
def rule_of(config: Config, examples: int, per_epoch: int) -> Rule:
    """The method, fed with moved, mixed and normalised pictures."""
    method = method_of(config, examples, per_epoch)
    return prepared(method, partial(normalised, config), partial(moved, config))


def method_of(config: Config, examples: int, per_epoch: int) -> Rule:
    """The method over the network, which sees pictures as they come."""
    layers, last = layers_of(config)
    net, rule = stack([*layers, last]), _learner(config)
    if config.method == "cs_kd":
        rule = cs_kd(net)
    elif config.method == "tf_kd":
        rule = taught_by(rule, backprop(net, cross_entropy))
    elif config.method == "ps_kd" or config.mixing == "cutmix":
        rule = ps_kd(
            rule,
            examples=examples,
            classes=CLASSES[config.dataset],
            per_epoch=per_epoch,
            epochs=config.epochs,
            # cross-entropy of mixed pictures is the same with no weight for predictions
            alpha=config.alpha if config.method == "ps_kd" else 0.0,
            schedule=config.schedule,
            teacher=config.teacher,
        )
    return rule


def _learner(config: Config) -> Rule:
    """What learns inside: backpropagation or greedy learning, with the loss of the method."""
    layers, last = layers_of(config)
    mixed = config.method == "ps_kd" or config.mixing == "cutmix"
    loss = {
        "smoothing": label_smoothing(0.1),
        "tf_kd": distillation(0.5, 4.0),
    }.get(config.method, remembered(soft_cross_entropy) if mixed else cross_entropy)
    if not config.local:
        return backprop(stack([*layers, last]), loss)
    return greedy(layers, last, objective=loss)


def moments_of(config: Config) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of every channel; none are set for digits."""
    return MOMENTS.get(config.dataset, ((0.0,), (1.0,)))


def normalised(config: Config, batch: Batch) -> Batch:
    """Pictures with mean 0 and deviation 1 over the training images."""
    mean, std = moments_of(config)
    scale = lambda x: (x - jnp.array(mean)) / jnp.array(std)
    return batch | {name: scale(batch[name]) for name in ("inputs", PARTNER) if name in batch}


def moved(config: Config, batch: Batch, key: Key) -> Batch:
    """Crop and flip, then Cutout or CutMix; the partners of CS-KD move by themselves."""
    own, others, mix = jax.random.split(key, 3)
    steps: list[Transform] = []
    if config.crop:
        steps += [random_crop(config.crop, "zero"), random_flip]
    if config.mixing == "cutout":  # the square has the mean colour: pictures are normalised later
        mean, cut = jnp.array(moments_of(config)[0]), cutout(config.square)
        steps.append(lambda key, image: mean + cut(key, image - mean))
    move = compose(*steps)
    batch = augment(batch, own, move) if steps else batch
    if PARTNER in batch and steps:
        shown = {"inputs": batch[PARTNER], "index": batch["index"]}
        batch = batch | {PARTNER: augment(shown, others, move)["inputs"]}
    return cutmix(batch, mix) if config.mixing == "cutmix" else batch


@cache
def transform_of(config: Config, steps: int) -> optax.GradientTransformation:
    """SGD with Nesterov momentum 0.9, weight decay, and a rate that drops by 10."""
    falls = {round(share * steps): 0.1 for share in config.drops}
    rate = optax.piecewise_constant_schedule(config.learning_rate, falls)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay), optax.sgd(rate, 0.9, nesterov=True)
    )


@cache
def read(name: str, **sizes: int | None) -> Dataset:
    """The images; rows and seeds share them."""
    return load(name, **sizes)


def train_one(config: Config, seed: int, run: Run) -> dict[str, float]:
    """Train one seed and judge its last epoch."""
    parts = {"train": config.train, "validation": config.validation, "test": config.test}
    data = read(config.dataset, **parts)
    state = trained(config, data, seed, run)
    part = getattr(data, config.judged)
    p = probabilities(config, state, part)
    labels = part["labels"]
    found = {
        "error": 100 * top_error(p, labels),
        "nll": nll(p, labels),
        "ece": 100 * ece(p, labels),
        "aurc": 1000 * aurc(p, labels),
        "e_aurc": 1000 * excess_aurc(p, labels),
    }
    return found | {"top5": 100 * top_error(p, labels, 5)}


def trained(config: Config, data: Dataset, seed: int, run: Run) -> TrainState:
    """The state after the last epoch; TF-KD's teacher is trained before, by cross-entropy."""
    stream: Batches = batches(data.train, config.batch, seed=seed)
    steps = config.epochs * stream.steps_per_epoch
    if config.method == "cs_kd":
        stream = with_partners(stream, data.train, seed=seed)
    rule = rule_of(config, len(data.train["labels"]), stream.steps_per_epoch * config.batch)
    tx = transform_of(config, steps)
    start = jax.jit(make_state, static_argnums=(0, 1))(rule, tx, jax.random.key(seed), stream(0))
    if config.method == "tf_kd":
        teacher = trained(replace(config, method="ce"), data, seed + 1000, run)
        start = with_teacher(start, teacher)
    return fit(
        make_step(rule, tx),
        start,
        own_rows(stream),
        steps=steps,
        mesh=every_device(),
        workdir=run.folder(seed) / config.method,
        config=asdict(config) | {"seed": seed},
        progress=run.progress,
        name=config.method,
    ).state


def probabilities(config: Config, state: TrainState, part: Batch) -> np.ndarray:
    """`[examples, classes]` in evaluation mode."""
    predict = _probabilities(config)
    size = min(500, len(part["labels"]))
    found = [
        np.asarray(predict(state.params, state.state, batch))[batch["mask"] > 0]
        for batch in padded(part, size)
    ]
    return np.concatenate(found)


@cache
def _probabilities(config: Config) -> Any:
    layers, last = layers_of(config)
    net = stack([*layers, last])

    def predict(params: Any, state: Any, batch: Batch) -> jax.Array:
        # greedy learning numbers the layers alike and keeps the classifier in its last module
        if config.local:
            logits, _ = _learner(config).predict(params, state, normalised(config, batch))
        else:
            logits, _ = net.apply(params, state, normalised(config, batch)["inputs"])
        return jax.nn.softmax(logits)

    return jax.jit(predict)


def _program(config: Config, size: int) -> Program:
    examples = config.train or SIZES[config.dataset]
    rule, tx = rule_of(config, examples, examples), transform_of(config, 1000)
    shape = SHAPES.get(config.dataset, (32, 32, 3))
    batch = labelled(size, shape)
    if config.method == "cs_kd":
        batch[PARTNER] = batch["inputs"]
    return abstract(rule, tx, batch)


def program(config: Config) -> Program:
    """One step of PS-KD with its memory of 50,000 predictions, the batch shared by 256 chips."""
    return _program(config, max(config.batch, COMPILED))


def bench() -> Bench:
    """The step of every method on the small network, 5000 rows of memory, pictures as they come."""
    from experiments.peers import dense
    from experiments.peers.past_predictions import mixed_with_past

    config = PRESETS["small"]
    draw = np.random.default_rng(0)
    shape = (config.batch, 28, 28, 1)
    batch = {
        "inputs": draw.uniform(size=shape).astype(np.float32),
        "labels": draw.integers(0, 10, config.batch).astype(np.int32),
        "index": draw.permutation(5000)[: config.batch].astype(np.int32),
    }

    def of(own: Config) -> Program:
        rule, tx = method_of(own, 5000, 4992), transform_of(own, 1000)
        shown = batch | ({PARTNER: batch["inputs"][::-1]} if own.method == "cs_kd" else {})
        return Program(make_step(rule, tx), make_state(rule, tx, jax.random.key(0), shown), shown)

    programs = {name: of(replace(config, method=method)) for name, method in METHODS.items()}
    programs = {{"CE": "backprop"}.get(name, name): made for name, made in programs.items()}
    programs["PS-KD, snapshot"] = of(replace(config, teacher="snapshot"))
    sgd = {"rate": config.learning_rate, "momentum": 0.9, "nesterov": True}

    def peer(name: str, method: Method, **options: Any) -> Peer:
        rule = method_of(replace(config, method=method), 5000, 4992)
        options |= sgd | {"decay": config.weight_decay}
        return Peer("torch", partial(dense.start, rule, programs[name], **options))

    past = mixed_with_past(5000, config.alpha)
    peers = {"backprop": peer("backprop", "ce"), "PS-KD": peer("PS-KD", "ps_kd", loss=past)}
    return Bench(programs, peers)


def figure(table: Any) -> Any:
    """The four figures that the claims are about."""
    labels = {
        "error": "test error, %",
        "nll": "negative log-likelihood",
        "ece": "ECE x 100",
        "aurc": "AURC x 1000",
    }
    return dots(table, labels)


EXPERIMENT = Experiment(
    slug="ps-kd",
    title="Self-Knowledge Distillation with Progressive Refinement of Targets",
    paper="Kim, Ji, Yoon and Hwang, ICCV 2021, arXiv 2006.12000",
    slots=("objective", "rule", "analysis"),
    Config=Config,
    presets={"smoke": PRESETS["smoke"], "small": PRESETS["small"], "paper": PRESETS["paper"]},
    rows=rows,
    train=each_seed(train_one),
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=(
        "`small`: a perceptron of two hidden layers, 40 epochs on 2500 images of Fashion-MNIST, "
        "which are not moved, so that cross-entropy overfits.",
        "The last epoch counts; the released code keeps the best epoch on the test images.",
        "TF-KD's weight and temperature (0.5 and 4) are ours.",
        "A CutMix picture is of two examples: what is predicted for it is stored for neither.",
        "CS-KD's pairs are an example of the batch and another one of its class.",
        "`compile` has 16 examples on each of 256 chips, a batch of 4096.",
        "Detection and translation are no rows: their data and networks are not part of this "
        "library.",
    ),
    notes=(
        "Published figures are those that the authors' repository lists for CIFAR-100; they stand "
        "beside the rows of `paper` only.",
        "The gain in accuracy (about 3 points on CIFAR-100) is a claim of full scale and is not "
        "judged here.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
