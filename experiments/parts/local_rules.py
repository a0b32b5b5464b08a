"""Every rule of the local and forward-only family over one dense network, by name."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
from flax import linen

from jaxlearn.core import Batch, Model, Objective, Rule, from_linen, reparametrize, stack
from jaxlearn.data.negative_data import LabelEmbedding, overwrite_label
from jaxlearn.models.heads.branches import branches
from jaxlearn.models.heads.predsim import predsim_head
from jaxlearn.models.heads.projection import half_normal
from jaxlearn.models.layers.checkpointed import checkpointed
from jaxlearn.models.layers.gelu import gelu
from jaxlearn.models.physical import physical_layer
from jaxlearn.models.shallow_blocks import dense_blocks
from jaxlearn.objectives import cross_entropy, supervised_contrastive
from jaxlearn.objectives.target_losses import TargetLoss, l1, l2
from jaxlearn.parametrizations.freeze import freeze
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.direct_feedback_alignment import direct_feedback_alignment
from jaxlearn.rules.direct_random_target_projection import direct_random_target_projection
from jaxlearn.rules.feedback_alignment import feedback_alignment
from jaxlearn.rules.forward_forward import forward_forward, unsupervised_forward_forward
from jaxlearn.rules.greedy import greedy
from jaxlearn.rules.infopro import infopro
from jaxlearn.rules.local_learning import Auxiliary
from jaxlearn.rules.man import man
from jaxlearn.rules.phyff import cosine, phyff
from jaxlearn.rules.predsim import predsim
from jaxlearn.rules.single_forward import single_forward, virtual_examples
from jaxlearn.rules.target_projection import target_projection

CLASSES = 10


class Setting(NamedTuple):
    """What a rule is built over.

    Attributes:
        blocks: hidden layers `relu(W h + b)` of equal width.
        readout: the linear readout.
        width: units of a hidden layer.
        pixels: entries of an input.
        loop: whether equal layers are computed in a loop, where the rule can.
    """

    blocks: list[Model]
    readout: Model
    width: int
    pixels: int
    loop: bool


def dense(layers: int, width: int) -> tuple[list[Model], Model]:
    """The network that all rules teach."""
    return dense_blocks(CLASSES, (width,) * layers, activation=linen.relu)


def hidden_head(width: int) -> Model:
    """A local head with one hidden layer, the dense counterpart of DGL's."""
    blocks, readout = dense(1, width)
    return stack([*blocks, readout])


def _auglocal(s: Setting) -> Rule:
    # one object per depth, so that modules with equal heads are equal (see `loop`)
    @lru_cache
    def copies(depth: int) -> Model:
        return stack([*dense(depth, s.width)[0], s.readout])

    head = lambda layer, chosen: copies(len(chosen))
    return auglocal(s.blocks, s.readout, 1, head, loop=s.loop)


def _man(s: Setting) -> Rule:
    host = Auxiliary(s.readout, cross_entropy)
    return man([[block] for block in s.blocks], s.readout, lambda i: host, loop=s.loop)


def _infopro(s: Setting, features: Model, task: Objective) -> Rule:
    head = branches({"image": _linear(s.pixels), "features": features})
    return infopro(s.blocks, s.readout, head, pixels, task=task, loop=s.loop)


def _contrast(s: Setting) -> Rule:
    embedding = stack([*dense(1, s.width)[0], _linear(32)])
    return _infopro(s, embedding, supervised_contrastive())


def _linear(width: int) -> Model:
    return from_linen(linen.Dense(width))


def pixels(batch: Batch) -> jax.Array:
    """The image to reconstruct, as one row of values in 0 … 1."""
    return batch["inputs"].reshape(len(batch["inputs"]), -1)


def _readout_alone(s: Setting) -> Rule:
    rule = backprop(stack([*s.blocks, s.readout]), cross_entropy)
    return reparametrize(rule, freeze(lambda path: path.split("/")[0] == str(len(s.blocks))))


def _physical(s: Setting) -> Rule:
    layer = physical_layer(None, s.width, activation=gelu)
    layers = [layer] * len(s.blocks)
    return phyff(layers, _labels(), cosine(absolute=False), loop=s.loop)


def _checkpointed(s: Setting) -> Rule:
    return backprop(stack([*map(checkpointed, s.blocks), s.readout]), cross_entropy)


def _labels() -> LabelEmbedding:
    return overwrite_label(CLASSES)


def _target(loss: TargetLoss) -> Callable[[Setting], Rule]:
    return lambda s: target_projection(
        s.blocks, s.readout, classes=CLASSES, loss=loss, draw=half_normal, loop=s.loop
    )


RULES: dict[str, Callable[[Setting], Rule]] = {
    "backprop": lambda s: backprop(stack([*s.blocks, s.readout]), cross_entropy),
    "checkpointed backprop": _checkpointed,
    "readout alone": _readout_alone,
    "feedback alignment": lambda s: feedback_alignment(s.blocks, s.readout),
    "sign-symmetric feedback": lambda s: feedback_alignment(s.blocks, s.readout, feedback="sign"),
    "direct feedback alignment": lambda s: direct_feedback_alignment(s.blocks, s.readout),
    "DRTP": lambda s: direct_random_target_projection(
        s.blocks, s.readout, classes=CLASSES, loop=s.loop
    ),
    "tpSGD, l2": _target(l2),
    "tpSGD, l1": _target(l1),
    "greedy": lambda s: greedy(s.blocks, s.readout, loop=s.loop),
    "DGL": lambda s: greedy(s.blocks, s.readout, head=hidden_head(s.width), loop=s.loop),
    "PredSim": lambda s: predsim(s.blocks, s.readout, predsim_head(CLASSES), loop=s.loop),
    "InfoPro, softmax": lambda s: _infopro(s, s.readout, cross_entropy),
    "InfoPro, contrast": _contrast,
    "AugLocal": _auglocal,
    "greedy with MAN": _man,
    "single-forward": lambda s: single_forward(s.blocks, virtual_examples(CLASSES), loop=s.loop),
    "forward-forward": lambda s: forward_forward(s.blocks, _labels(), loop=s.loop),
    "forward-forward, unsupervised": lambda s: unsupervised_forward_forward(
        s.blocks, CLASSES, loop=s.loop
    ),
    "PhyLL, digital": _physical,
}


def rule_of(name: str, layers: int, width: int, *, pixels: int = 784, loop: bool = False) -> Rule:
    """The rule of that name over the network; with `loop` equal layers are computed in a loop.

    Raises:
        ValueError: when there is no rule of that name.
    """
    if name not in RULES:
        raise ValueError(f"method={name!r} is none of {[*RULES]}")
    blocks, readout = dense(layers, width)
    return RULES[name](Setting(blocks, readout, width, pixels, loop))
