"""AugLocal on ImageNet: networks and heads; `config` is `experiments.auglocal.ImageNet`.

Images and the compiled step are those of `man_imagenet`.
"""

from dataclasses import replace
from typing import Any

from experiments.harness import Row
from experiments.parts.man_imagenet import CLASSES, over_images
from jaxlearn.core import Model, Rule, stack
from jaxlearn.models.cifar_resnet import BasicBlock, classifier, layer_widths
from jaxlearn.models.heads.copied_blocks import copied_blocks_head
from jaxlearn.models.heads.copied_convs import copied_convs_head
from jaxlearn.models.imagenet_resnet import RESNET34, RESNET101, Bottleneck, imagenet_resnet
from jaxlearn.models.imagenet_vgg import VGG13, imagenet_vgg, vgg_classifier, vgg_widths
from jaxlearn.models.imagenet_vgg import WIDTHS as VGG_WIDTHS
from jaxlearn.models.layers.checkpointed import checkpointed
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.auglocal import auglocal
from jaxlearn.rules.backprop import backprop

NETWORKS: dict[str, dict[str, Any]] = {
    "ResNet-34": {"blocks": RESNET34},
    "ResNet-101": {"blocks": RESNET101, "kind": "bottleneck"},
    "VGG-13": {"blocks": VGG13, "widths": VGG_WIDTHS, "kind": "vgg"},
}
"""The published networks, as fields of the config."""

PUBLISHED = {
    "backprop, ResNet-101": {"accuracy": 77.34},
    "auglocal, ResNet-101": {"accuracy": 76.70},
    "backprop, VGG-13": {"accuracy": 71.59},
}
"""Top-1 accuracy in percent, as quoted from the paper's tables."""


def rows(preset: Any) -> list[Row]:
    """Backprop and AugLocal on every network."""
    return [
        Row(name, replace(preset, method=method, **shape), PUBLISHED.get(name, {}))
        for network, shape in NETWORKS.items()
        for method in ("backprop", "auglocal")
        for name in [f"{method}, {network}"]
    ]


def rule(config: Any) -> Rule:
    """The row's rule over images with values 0 to 255; AugLocal isolates every layer."""
    layers, end = network(config)
    if config.method == "auglocal":
        head = lambda layer, selected: head_of(config, layer, selected)
        found = auglocal(layers, end, config.depth, head, tau=config.tau, joint=1)
    else:
        again = checkpointed if config.method == "checkpoint" else lambda layer: layer
        found = backprop(stack([*map(again, layers), end]), cross_entropy)
    return over_images(found, config)


def network(config: Any) -> tuple[list[Model], Model]:
    """The layers, and the classifier."""
    if config.kind == "vgg":
        return imagenet_vgg(config.blocks, config.widths, sync=config.sync), vgg_classifier(CLASSES)
    bottleneck = config.kind == "bottleneck"
    layers = imagenet_resnet(config.blocks, config.widths, bottleneck=bottleneck, sync=config.sync)
    return layers, classifier(CLASSES)


def head_of(config: Any, layer: int, selected: list[int]) -> Model:
    """Copies of the selected layers, without normalisation of the pooled features."""
    if config.kind == "vgg":
        widths = vgg_widths(config.blocks, config.widths)
        return copied_convs_head(widths, layer, selected, CLASSES, sync=config.sync)
    widths = layer_widths(config.blocks, config.widths)
    block = Bottleneck if config.kind == "bottleneck" else BasicBlock
    options = {"block": block, "normalize": False, "sync": config.sync}
    return copied_blocks_head(widths, layer, selected, CLASSES, **options)
