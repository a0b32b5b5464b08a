"""MAN on CIFAR-10: the counterpart of `man_imagenet`, after the protocol of `experiments.auglocal`.

`config` is `experiments.man.Config`.
"""

from dataclasses import asdict, fields
from typing import Any

from experiments import auglocal
from experiments.harness import Program
from experiments.parts import auglocal_images
from jaxlearn.core import Model, Rule
from jaxlearn.data.cifar10 import MEAN, STD
from jaxlearn.models.cifar_resnet import cifar_resnet, classifier
from jaxlearn.models.heads.infopro import infopro_head

__all__ = ["CLASSES", "MEAN", "STD", "abstract_program", "head", "network", "over_images"]

CLASSES = 10
EMBEDDING = 128
"""Outputs of InfoPro's head for the contrastive task."""


def network(config: Any) -> tuple[list[Model], Model]:
    """The layers of the ResNet, and the classifier."""
    return cifar_resnet(config.blocks, config.widths, sync=config.sync), classifier(CLASSES)


def head(config: Any) -> Model:
    """InfoPro's decoder and classifier, or its embedding."""
    outputs = CLASSES if config.task == "softmax" else EMBEDDING
    return infopro_head(config.image, outputs, widest=config.widths[-1], sync=config.sync)


def protocol(config: Any) -> auglocal.Config:
    """Data and optimiser, which are those of `experiments.auglocal`."""
    own = {field.name for field in fields(auglocal.Config)} - {"method", "depth", "depths"}
    shared = {name: value for name, value in asdict(config).items() if name in own}
    return auglocal.Config(depth=1, depths=(1,), **shared)


def over_images(rule: Rule, config: Any) -> Rule:
    """A rule for normalised images, cropped and flipped in training, over values 0 to 255."""
    return auglocal_images.over_images(rule, protocol(config))


def abstract_program(rule: Rule, config: Any) -> Program:
    """The config's step on a whole batch."""
    return auglocal.abstract_program(rule, protocol(config))
