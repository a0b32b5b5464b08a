"""MAN on ImageNet: networks, images and the compiled step; `config` is `experiments.man.ImageNet`.

Training examples are 224 x 224 bytes, as an input pipeline crops them; the step flips and
normalises them.
"""

from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import optax

from experiments.harness import Program
from jaxlearn.core import Model, Rule, make_state, make_step, prepared
from jaxlearn.data.augment import augment, random_flip
from jaxlearn.data.imagenet import MEAN, STD
from jaxlearn.models.cifar_resnet import classifier
from jaxlearn.models.heads.infopro_imagenet import imagenet_infopro_head
from jaxlearn.models.imagenet_resnet import imagenet_resnet
from jaxlearn.transforms.schedules import blended_cosine

CLASSES, EXAMPLES = 1000, 1_281_167


def network(config: Any) -> tuple[list[Model], Model]:
    """The layers of ResNet-101, -152 or ResNeXt-101, and the classifier."""
    shape = {"bottleneck": True, "groups": config.groups, "base": config.base}
    layers = imagenet_resnet(config.blocks, config.widths, sync=config.sync, **shape)
    return layers, classifier(CLASSES)


def head(config: Any) -> Model:
    """InfoPro's decoder and classifier for maps of 28 x 28 or 14 x 14."""
    return imagenet_infopro_head(CLASSES, sync=config.sync)


def over_images(rule: Rule, config: Any) -> Rule:
    """A rule for normalised images, flipped in training, over values 0 to 255."""
    del config  # all rows see their images alike

    def normalise(batch: dict[str, Any]) -> dict[str, Any]:
        scaled = jnp.asarray(batch["inputs"], jnp.float32) / 255
        return batch | {"inputs": (scaled - jnp.array(MEAN)) / jnp.array(STD)}

    return prepared(rule, normalise, partial(augment, transform=random_flip))


def protocol(config: Any, slug: str = "man") -> NoReturn:
    """How an experiment trains on these images: it does not.

    Raises:
        ValueError: always, with what can be done instead.
    """
    raise ValueError(
        f"ImageNet is not trained on here; `compile {slug} --preset imagenet` compiles the step, "
        "and `rule_of` gives the rule for batches of your own"
    )


def abstract_program(rule: Rule, config: Any) -> Program:
    """One step on a whole batch; the rate falls along a cosine to 0."""
    per_epoch = EXAMPLES // config.batch
    rate = blended_cosine(config.learning_rate, config.epochs, per_epoch, warmup=config.warmup)
    decay = optax.add_decayed_weights(config.weight_decay)
    tx = optax.chain(decay, optax.sgd(rate, momentum=0.9, nesterov=True))
    batch = {
        "inputs": jax.ShapeDtypeStruct((config.batch, *[config.image] * 2, 3), jnp.uint8),
        "labels": jax.ShapeDtypeStruct((config.batch,), jnp.int32),
        "index": jax.ShapeDtypeStruct((config.batch,), jnp.int32),
    }
    make = lambda key, batch: make_state(rule, tx, key, batch)
    return Program(make_step(rule, tx), jax.eval_shape(make, jax.random.key(0), batch), batch)
