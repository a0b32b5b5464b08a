"""The published ResNet-20, -32 and -56 for PERP, on CIFAR-10 images."""

from functools import cache
from typing import Any

import jax.numpy as jnp

from jaxlearn.core import Model, Params, Rule, State, prepared, stack
from jaxlearn.data import load
from jaxlearn.data.augment import augment, compose, random_crop, random_flip
from jaxlearn.data.resnet_weights import MEAN, STD, resnet_weights
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.option_a_resnet import from_torch, option_a_resnet
from jaxlearn.parametrizations import Roles

ROLES = Roles(
    # the blocks' convolutions; the stem and the classifier stay dense
    pruned=lambda path: "/conv" in path and path.endswith("kernel"),
    norm=lambda path: "BatchNorm" in path,
    head=lambda path: "Dense_0" in path,
)


def blocks(depth: int) -> tuple[int, int, int]:
    """Per stage of a ResNet of `6n + 2` layers."""
    return ((depth - 2) // 6,) * 3


@cache
def network(depth: int) -> Model:
    """The ResNet with option A."""
    return stack([*option_a_resnet(blocks(depth)), classifier(10)])


@cache
def published(depth: int) -> tuple[Params, State]:
    """Its weights, trained on the lossless images."""
    params, state = from_torch(resnet_weights(depth), blocks(depth))
    return params, state


@cache
def images(train: int | None, test: int) -> Any:
    """CIFAR-10; `source` says whether lossless or not."""
    return load("cifar10", train=train, validation=test, test=test)


def on_images(rule: Rule) -> Rule:
    """The rule on normalised images, flipped and cropped while training."""
    moves = compose(random_crop(4, "zero"), random_flip)
    mean, std = jnp.array(MEAN), jnp.array(STD)
    normal = lambda batch: batch | {"inputs": (batch["inputs"] - mean) / std}
    return prepared(rule, normal, lambda batch, key: augment(batch, key, moves))
