"""The models of BT2's rows: what is trained on what, after which; `config` is `bt2.Config`."""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen

from jaxlearn.core import Batch, Model, Rule, from_functions, from_linen, prepared, stack
from jaxlearn.data.augment import augment, compose, random_crop, random_flip
from jaxlearn.data.moments import MOMENTS
from jaxlearn.models.bt2 import BT2Head, EmbeddingHead
from jaxlearn.models.cifar_bottleneck import cifar_bottleneck
from jaxlearn.models.small_cnn import FlatRelu, small_cnn
from jaxlearn.objectives.backward_compatible import bct_loss, bt2_loss, embedding_loss
from jaxlearn.rules import backprop

Network = Literal["linear", "mlp", "cnn", "resnet50"]
CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class Stage:
    """One model of a row: what it is trained on, and against which models before it.

    classes: it sees the first so many. before: the stage it is to be compatible with.
    """

    config: Any
    kind: Literal["alone", "captions", "bct", "bt2"]
    network: Network
    width: int
    classes: int
    before: "Stage | None" = None


def stages_of(config: Any) -> list[Stage]:
    """The models of a row in the order of their updates; the first is the old one."""
    every = CLASSES[config.dataset]
    plain = alone(config)
    first = round(config.share * every)
    own = "captions" if config.captions else "alone"
    old = Stage(plain, own, config.old_network, config.old, first)
    if config.method == "old":
        return [old]
    if config.method == "independent":
        return [old, Stage(plain, "alone", config.network, config.new, every)]
    kind = "bct" if config.method == "bct" else "bt2"
    width = config.new + config.extra
    if config.updates == 1:
        return [old, Stage(config, kind, config.network, width, every, old)]
    earlier = config.between or config.network
    between = Stage(config, kind, earlier, width, (first + every) // 2, old)
    longer = replace(config, old=width, captions=False)
    return [old, between, Stage(longer, kind, config.network, width, every, between)]


KINDS = ("alone", "captions", "bct", "bt2")
TRAINING = (
    "dataset",
    "epochs",
    "warm_up",
    "batch",
    "learning_rate",
    "weight_decay",
    "moved",
    "train",
    "validation",
    "test",
    "judged",
)
"""What of a config decides how a model alone is trained: rows share such models."""


def alone(config: Any) -> Any:
    """The config of a model alone, of whatever row."""
    return type(config)(**{name: getattr(config, name) for name in TRAINING})


@cache
def net_of(stage: Stage) -> Model:
    """The network with the head of its stage."""
    config, classes = stage.config, CLASSES[stage.config.dataset]
    plain = lambda apply: from_functions(lambda key, x: {}, lambda params, x: apply(x))
    flat, pool = plain(lambda x: x.reshape(len(x), -1)), plain(lambda x: x.mean((1, 2)))
    body: list[Model] = {
        "linear": lambda: [flat],
        "mlp": lambda: [from_linen(FlatRelu(128))],
        "cnn": small_cnn,
        "resnet50": lambda: [*cifar_bottleneck((3, 4, 6, 3)), pool],
    }[stage.network]()
    head: linen.Module = EmbeddingHead(stage.width, classes)
    if stage.kind == "bt2":
        sizes = {"old": config.old, "new": config.new, "extra": config.extra}
        head = BT2Head(classes=classes, scale=config.scale, chart=config.chart, **sizes)
    return stack([*body, from_linen(head)])


@cache
def rule_of(stage: Stage) -> Rule:
    """Backpropagation of the stage's loss, fed with normalised pictures."""
    config = stage.config
    loss = {
        "alone": embedding_loss,
        "bct": partial(bct_loss, config.old),
        "bt2": partial(bt2_loss, classes=config.classes_weight),
    }[stage.kind]()
    move = partial(augment, transform=compose(random_crop(4, "zero"), random_flip))
    moves = move if config.moved else None
    return prepared(backprop(net_of(stage), loss), partial(normalised, config), moves)


def normalised(config: Any, batch: Batch) -> Batch:
    """Pictures with mean 0 and deviation 1 over the training images."""
    mean, std = MOMENTS.get(config.dataset, ((0.0,), (1.0,)))
    return batch | {"inputs": (batch["inputs"] - jnp.array(mean)) / jnp.array(std)}
