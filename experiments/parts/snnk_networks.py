"""The networks of the SNNK experiment; `config` is its `Config`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import linen

from jaxlearn.core import Model, from_linen, stack
from jaxlearn.models.encoder import Classifier, Encoder, Pooler, vision_transformer
from jaxlearn.models.layers.adapters import BottleneckAdapter, SNNKAdapter, SNNKBottleneck
from jaxlearn.models.layers.random_features import (
    Features,
    normalized,
    power_series_features,
    relu_features,
    universal_features,
)
from jaxlearn.models.layers.snnk import SNNK
from jaxlearn.models.minilm import LAYERS, minilm_encoder

CLASSES = {"digits": 10, "fashion_mnist": 10, "cifar10": 10, "sst2": 2}
INPUTS = {"digits": 64, "fashion_mnist": 784, "cifar10": 3072}
PATCH = {"digits": 2, "cifar10": 4}


def maps(config: Any) -> Features:
    """The pair of feature maps of a row."""
    count, blocks = config.features, config.blocks
    match config.method:
        case "relu" | "relu-bottleneck" | "ffn" | "every-ffn":
            plain = relu_features(count, floor=config.floor, blocks=blocks)
            return normalized(plain) if config.normalized else plain
        case "gelu" | "softplus" | "tanh":
            return power_series_features(config.method, count)
        case "pooler":
            return normalized(universal_features("sin", count, form="asymmetric"), 1.0)
    form = config.form
    plain = universal_features(config.method, count, form=form, knob=config.knob, blocks=blocks)
    return plain if config.study == "kernel" else normalized(plain, 1.0)


class Flat(linen.Module):
    """Images as vectors."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, ...]` to `[batch, inputs]`."""
        return x.reshape(x.shape[0], -1)


class Dense(linen.Module):
    """`relu(W x + b)`, with `W` of rank `rank` if that is given."""

    width: int
    rank: int = 0

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[batch, inputs]` to `[batch, width]`."""
        x = linen.Dense(self.rank, use_bias=False)(x) if self.rank else x
        return linen.relu(linen.Dense(self.width)(x))


def hidden_network(config: Any) -> Model:
    """One hidden layer and a linear one."""
    match config.method:
        case "dense":
            layer: linen.Module = Dense(config.width)
        case "low-rank":
            # the rank at which both factors together have as many weights as Omega
            inputs = INPUTS[config.dataset]
            share = config.features * config.width / (inputs + config.width)
            layer = Dense(config.width, max(round(share), 1))
        case _:
            layer = SNNK(config.width, maps(config))
    readout = linen.Dense(CLASSES[config.dataset])
    return stack([from_linen(part) for part in (Flat(), layer, readout)])


def towers(config: Any) -> list[Features]:
    """ReLU features of ReLU features of ..., with orthogonal directions."""
    return [relu_features(config.features, blocks=True) for _ in range(config.depth)]


def adapter_part(config: Any) -> Callable[[str], linen.Module] | None:
    """What follows the sub-layers of a row."""
    match config.method:
        case "probe" | "lora" | "bitfit" | "full":
            return None
        case "bottleneck":
            return lambda name: BottleneckAdapter(config.down, name=name)
        case "relu-bottleneck":
            return lambda name: SNNKBottleneck(maps(config), config.down, name=name)
    return lambda name: SNNKAdapter(maps(config), name=name)


def adapted_network(config: Any) -> Model:
    """The layers with adapters and the classifier; what lies below is computed once."""
    places = {"adapter": adapter_part(config), "adapted": config.adapted}
    if config.dataset == "digits":
        encoder = Encoder(config.layers, 2, 2 * config.width, norm_first=True, **places)
    else:
        encoder = minilm_encoder(LAYERS - config.adapted, LAYERS, **places)
    return from_linen(Classifier(encoder, CLASSES[config.dataset]))


def vit(config: Any, method: str) -> Model:
    """A ViT with a pooler, plain or with SNNK layers in place of what `method` says."""
    snnk = lambda width: lambda name: SNNK(width, maps(config), name=name)
    wide = 2 * config.width
    count = {"ffn": config.layers // 2, "every-ffn": config.layers}.get(method, 0)
    return vision_transformer(
        CLASSES[config.dataset],
        patch=PATCH[config.dataset],
        width=config.width,
        layers=config.layers,
        heads=4,
        hidden=wide,
        replaced=snnk(wide) if count else None,
        uptrained=count,
        pooler=snnk(config.width) if method == "pooler" else partial(_pooler, config.width),
    )


def _pooler(width: int, name: str) -> linen.Module:
    return Pooler(width, name=name)
