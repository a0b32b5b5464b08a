"""BT2, ICCV 2023: a retrieval model upgraded so that its queries still find old gallery items.

Expected (`small`, seeds 0 to 2), mAP in the old and in the new gallery: old queries 48.3 in their
own, independent model 17.5 and 80.8, BCT 56.5 and 77.7 (with plain dimensions besides 56.9 and
77.4), BT2 54.6 and 73.9. BT2 is compatible, also with its predecessor's predecessor (49.3), and
gains 4 points by the classification by old prototypes (50.4 without). Two claims fail: in the new
gallery BT2 stays 7 points below the independent model and 4 below BCT. 12 epochs are too few for
its u to reach the reference (mean cosine about 0.6): after 60 (seed 100) the three have 77.9, 78.4
and 77.0. About 2.5 minutes of one idle core.

    python -m experiments table bt2 --preset small

The new embedding (`models/bt2.py`) has a few dimensions more than the old one, and two learned
orthonormal changes of basis hold in it both what an independent reference model knows, whole, and
an approximation of the old embedding in its first dimensions. Beside it: the independent model;
BCT, one vector for both; BCT with as many plain dimensions more; BT2 by regression alone; and an
update of the updated model. The old model has seen half of the classes. The preset `upgrades` has
an old embedding of half the size, another architecture, an old model of another modality, captions,
and Cayley's map for the exponential (seeds 0 to 2, mAP in the old gallery 51.9, 55.7, 90.0 and
54.7, in the new 75.5, 76.4, 80.5 and 74.6), and another architecture at each of two updates (61.5,
in the first gallery 50.7, and 74.4). `cifar10` is the same table on JPEG copies of CIFAR-10, with
small convolutional networks (seeds 0 to 2, on an H100): old queries 22.2, independent 11.5 and
31.1, BCT 22.8 and 26.8, BT2 23.5 and 25.3; so small a network has not learned much there.

Deviations from the paper:
1. `small` is a net of one hidden layer on 8000 images of Fashion-MNIST with embeddings of 32
   dimensions. Its figures are not the paper's.
2. The features of BT2 are a rectified linear layer on the pooled features, where the released code
   widens the last residual block.
3. Old and reference features are computed once with the pictures as they are; training pictures are
   moved in `paper` alone.
4. All models are trained with the same schedule; the released script of BCT has none.
5. Captions are bags of letter trigrams in a basis of their span, where the paper takes CLIP.
6. Updates of the bases are halved: both triangles of A move, where torch trains one.
7. `paper` has pictures of 32x32 pixels, ResNet-50 with a stem for them, and crops besides flips;
   the released code resizes pictures to 224 pixels and only flips them.
8. Image transformers, AlexNet and VGG, of which the paper makes sequences of updates, are left out:
   `BT2, two architectures` goes from no hidden layer over one to convolutions.
"""

from collections.abc import Mapping
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
from experiments.harness.store import fingerprint
from experiments.parts.abstract import abstract, labelled
from experiments.parts.bt2_captions import caption_features
from experiments.parts.bt2_claims import METRICS, PAPER, claims
from experiments.parts.bt2_stages import (
    CLASSES,
    KINDS,
    Network,
    Stage,
    alone,
    normalised,
    rule_of,
    stages_of,
)
from jaxlearn.analysis.retrieval import retrieval
from jaxlearn.core import Batch, TrainState, make_state, make_step
from jaxlearn.data import Dataset, load
from jaxlearn.data.batches import Batches, batches, padded
from jaxlearn.data.feature_store import class_means, with_features
from jaxlearn.models.layers.orthonormal import Chart
from jaxlearn.runtime import every_device, fit, own_rows

CHIPS = 256
"""Chips that `compile` shares the paper's step over."""
Method = Literal["old", "independent", "bct", "bt2"]
SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1)}


@dataclass(frozen=True)
class Config:
    """One row.

    method: "independent" is a new model that knows nothing of the old one.
    captions: the old features are those of the classes' names.
    upgrades: the table is of other kinds of upgrade.
    updates: 2 upgrades the upgraded model once more, with further classes each time.
    between: the network of the first of two updates; None has that of the last.
    old_network, network: of the old and of the new model.
    old, new, extra, scale: d_old, d_new, r and C. For BCT, extra plain dimensions.
    classes_weight: lambda_2, 0 for regression alone.
    share: of the classes that the old model has seen.
    """

    method: Method = "bt2"
    captions: bool = False
    upgrades: bool = False
    updates: Literal[1, 2] = 1
    old_network: Network = "mlp"
    between: Network | None = None
    network: Network = "mlp"
    chart: Chart = "exponential"
    old: int = 32
    new: int = 32
    extra: int = 8
    scale: float = 2.0
    classes_weight: float = 10.0
    share: float = 0.5
    dataset: Literal["digits", "fashion_mnist", "cifar10", "cifar100"] = "fashion_mnist"
    epochs: int = 12
    warm_up: float = 0.5
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 2**-15
    moved: bool = False
    train: int | None = 8000
    validation: int = 2000
    test: int | None = 2000
    judged: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or not 0 < self.share <= 1:
            raise ValueError(
                f"epochs={self.epochs} and batch={self.batch} have to be at least 1 and "
                f"share={self.share} in (0, 1]"
            )
        if not 0 <= self.extra <= self.old or self.old > self.extra + self.new:
            raise ValueError(
                "dimensions need 0 <= extra <= old <= extra + new: found "
                f"extra={self.extra}, old={self.old}, new={self.new}"
            )
        if self.captions and self.old != CLASSES[self.dataset]:
            raise ValueError(
                f"captions of {CLASSES[self.dataset]} classes have as many dimensions, not "
                f"old={self.old}"
            )


SMALL = Config()
PRESETS = {
    "smoke": Config(
        dataset="digits",
        old=8,
        new=8,
        extra=2,
        epochs=2,
        batch=64,
        train=640,
        validation=100,
        test=200,
    ),
    "small": SMALL,
    "upgrades": replace(SMALL, upgrades=True),
    "cifar10": replace(SMALL, dataset="cifar10", old_network="cnn", network="cnn"),
    "paper": Config(
        old_network="resnet50",
        network="resnet50",
        old=128,
        new=128,
        extra=32,
        dataset="cifar100",
        epochs=100,
        learning_rate=1e-3,
        warm_up=5,
        moved=True,
        train=None,
        validation=0,
        test=None,
    ),
}


def rows(config: Config) -> list[Row]:
    """The upgrade by all methods; variants of BT2; other kinds of upgrade."""
    of = partial(replace, config)
    table = {
        "old": of(method="old"),
        "independent": of(method="independent"),
        "BCT": of(method="bct", extra=0),
        "BCT + dimensions": of(method="bct"),
        "BT2": config,
    }
    table |= {
        "BT2, regression alone": of(classes_weight=0.0),
        "BT2, second update": of(updates=2),
    }
    upgrades = {
        "BT2, Cayley": of(chart="cayley"),
        "BT2, half the old size": of(old=config.old // 2),
        "BT2, other architecture": of(network="cnn"),
        "BT2, two architectures": of(updates=2, old_network="linear", between="mlp", network="cnn"),
        "BT2, captions": of(captions=True, old=CLASSES[config.dataset]),
    }
    if config.dataset == "digits":  # smoke: the two that hold all the code
        table = {"BCT + dimensions": table["BCT + dimensions"]}
        table["BT2, second update"] = of(updates=2, old=6, old_network="linear")
    elif config.upgrades:
        table = {"BT2": config} | upgrades
    return [
        Row(name, own, PAPER.get(name, {}) if config.dataset == "cifar100" else {})
        for name, own in table.items()
    ]


@cache
def transform_of(config: Config, per_epoch: int) -> optax.GradientTransformation:
    """Adam with weight decay in the gradient, a linear warm-up and a cosine."""
    steps = config.epochs * per_epoch
    warm = min(round(config.warm_up * per_epoch), steps - 1)
    rate = optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warm, steps)
    bases = lambda tree: jax.tree.map_with_path(lambda path, _: "skew" in str(path[-1]), tree)
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.adam(rate),
        optax.masked(optax.scale(0.5), bases),
    )


@cache
def read(name: str, **sizes: int | None) -> Dataset:
    """The images; rows and seeds share them."""
    return load(name, **sizes)


def train_one(config: Config, seed: int, run: Run) -> dict[str, float]:
    """Train the models of a row, and score their embeddings of the judged images."""
    sizes = {"train": config.train, "validation": config.validation, "test": config.test}
    data = read(config.dataset, **sizes)
    stages, part = stages_of(config), getattr(data, config.judged)
    labels = part["labels"]
    seen = [embedded(stage, data, part, seed, run) for stage in stages]
    score = partial(retrieval, query_labels=labels, gallery_labels=labels)
    names = {"new_old": (-1, -2), "new_new": (-1, -1)} if len(seen) > 1 else {"old_old": (-1, -1)}
    names |= {"first": (-1, 0)} if len(seen) > 2 else {}
    return {
        f"{name}_{metric}": 100 * value
        for name, (query, gallery) in names.items()
        for metric, value in score(seen[query], seen[gallery]).items()
    }


def embedded(stage: Stage, data: Dataset, part: Batch, seed: int, run: Run) -> np.ndarray:
    """The embeddings of a part's images, captions where the stage is one of captions."""
    if stage.kind == "captions":
        return caption_features(data.classes)[part["labels"]]
    return embeddings(stage, trained(stage, data, seed, run), part)


def trained(stage: Stage, data: Dataset, seed: int, run: Run) -> TrainState:
    """The state after the last epoch; a model that several rows share is trained once."""
    stream = stream_of(stage, data, seed, run)
    rule, tx = rule_of(stage), transform_of(stage.config, stream.steps_per_epoch)
    # from one start, models that know nothing of each other would be half compatible
    key = jax.random.fold_in(jax.random.key(seed), 10 * stage.classes + KINDS.index(stage.kind))
    start = jax.jit(make_state, static_argnums=(0, 1))(rule, tx, key, stream(0))
    return fit(
        make_step(rule, tx),
        start,
        own_rows(stream),
        steps=stage.config.epochs * stream.steps_per_epoch,
        mesh=every_device(),
        workdir=run.workdir.parent / "models" / fingerprint(stage) / f"seed-{seed}",
        config=asdict(stage) | {"seed": seed},
        progress=run.progress,
        name=stage.kind,
    ).state


def stream_of(stage: Stage, data: Dataset, seed: int, run: Run) -> Batches:
    """Batches of the classes seen, with old and reference features and old prototypes."""
    known = data.train["labels"] < stage.classes
    part = {name: data.train[name][known] for name in ("inputs", "labels")}
    stream = batches(part, stage.config.batch, seed=seed)
    if stage.before is None:
        return stream
    old = embedded(stage.before, data, part, seed, run)
    # classes to come have no prototype yet: theirs is zero and no label asks for it. The means are
    # of embeddings as they are: those of an updated model are longer than 1
    means = np.zeros((CLASSES[stage.config.dataset], old.shape[1]), np.float32)
    means[: stage.classes] = class_means(old, part["labels"], stage.classes)
    features = {"old": _unit(old)}
    if stage.kind == "bt2":
        config = stage.config
        reference = Stage(alone(config), "alone", stage.network, config.new, stage.classes)
        features["reference"] = embedded(reference, data, part, seed, run)
    return with_features(stream, features, {"prototypes": means})


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def embeddings(stage: Stage, state: TrainState, part: Batch) -> np.ndarray:
    """`[examples, d]` in evaluation mode, the pictures as they are."""
    embed = _embed(stage)
    found = [
        np.asarray(embed(state.params, state.state, batch))[batch["mask"] > 0]
        for batch in padded(part, min(500, len(part["labels"])))
    ]
    return np.concatenate(found)


@cache
def _embed(stage: Stage) -> Any:
    predict = rule_of(stage).predict
    return jax.jit(lambda params, state, batch: predict(params, state, batch)[0]["embedding"])


def _program(stage: Stage, size: int) -> Program:
    config = stage.config
    rule, tx = rule_of(stage), transform_of(config, 100)
    of = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    batch = labelled(size, SHAPES.get(config.dataset, (32, 32, 3)))
    if stage.before is not None:
        batch |= {"old": of(size, config.old), "reference": of(size, config.new)}
        batch["context"] = {"prototypes": of(CLASSES[config.dataset], config.old)}
    return abstract(rule, tx, batch)


def program(config: Config) -> Program:
    """One step of the last model of a row, with the published batch on each of 256 chips."""
    return _program(stages_of(config)[-1], CHIPS * config.batch)


def bench() -> Bench:
    """One step of the independent model, BCT and BT2 with either chart, on the small network.

    The first and BT2 are beside PyTorch.
    """
    from experiments.peers import embeddings

    draw = np.random.default_rng(0)

    def of(config: Config) -> Program:
        stage = stages_of(config)[-1]
        made = _program(stage, config.batch)
        fill = lambda leaf: draw.uniform(size=leaf.shape).astype(leaf.dtype)
        batch = jax.tree.map(fill, made.batch)
        batch["labels"] = draw.integers(0, 10, config.batch).astype(np.int32)
        tx = transform_of(stage.config, 100)
        return Program(made.step, make_state(rule_of(stage), tx, jax.random.key(0), batch), batch)

    configs = {
        "backprop": replace(SMALL, method="independent"),
        "BCT": replace(SMALL, method="bct", extra=0),
        "BT2": SMALL,
        "BT2, Cayley": replace(SMALL, chart="cayley"),
    }
    programs = {name: of(config) for name, config in configs.items()}

    def beside(name: str, **options: Any) -> Peer:
        stage = stages_of(configs[name])[-1]
        shown = normalised(stage.config, programs[name].batch)["inputs"]
        options |= {"rate": SMALL.learning_rate, "decay": SMALL.weight_decay}
        begin = partial(embeddings.start, rule_of(stage), programs[name], shown, **options)
        return Peer("torch", begin)

    bt2 = {"extra": SMALL.extra, "scale": SMALL.scale, "classes_weight": SMALL.classes_weight}
    return Bench(programs, {"backprop": beside("backprop"), "BT2": beside("BT2", **bt2)})


def figure(table: Mapping[str, Any]) -> Any:
    """Mean average precision in the old and in the new gallery."""
    labels = {"new_old_map": "mAP, new in old, %", "new_new_map": "mAP, new in new, %"}
    return dots({"rows": [row for row in table["rows"] if row["name"] != "old"]}, labels)


EXPERIMENT = Experiment(
    slug="bt2",
    title="BT^2: Backward-compatible Training with Basis Transformation",
    paper="Zhou, Li, Shrivastava, Zhao, Torralba, Tian and Lim, ICCV 2023, arXiv 2211.03989",
    slots=("model", "objective", "procedure", "analysis"),
    Config=Config,
    presets={
        "smoke": PRESETS["smoke"],
        "small": PRESETS["small"],
        "upgrades": PRESETS["upgrades"],
        "cifar10": PRESETS["cifar10"],
        "paper": PRESETS["paper"],
    },
    rows=rows,
    train=each_seed(train_one),
    claims=claims,
    program=program,
    bench=bench,
    figure=figure,
    metrics=METRICS,
    deviations=(
        "`small`: a net of one hidden layer on 8000 images of Fashion-MNIST, embeddings of 32 "
        "dimensions.",
        "BT2's features are a rectified linear layer on the pooled features; the released code "
        "widens the last residual block.",
        "Old and reference features are computed once, with the pictures as they are.",
        "All models are trained with the same schedule; the released script of BCT has none.",
        "Captions are bags of letter trigrams in a basis of their span; the paper takes CLIP.",
        "Updates of the bases are halved: both triangles of A move, where torch trains one.",
        "`paper` has pictures of 32x32 pixels, ResNet-50 with a stem for them, and crops besides "
        "flips; the released code resizes pictures to 224 pixels and only flips them.",
        "Image transformers, AlexNet and VGG, of which the paper makes sequences of updates, are "
        "left out: `BT2, two architectures` goes from no hidden layer over one to convolutions.",
    ),
    notes=(
        "Published figures are those that the authors' repository lists for CIFAR-100, 50 to 100 "
        "classes; they stand beside the rows of `paper` only.",
        "The models of rows with two updates see 5, then 7, then 10 classes.",
    ),
)

if __name__ == "__main__":
    main(EXPERIMENT)
