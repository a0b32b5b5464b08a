"""Data and physics of the experiment `phyff`."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import Params, from_linen, make_state, make_step
from jaxlearn.data import load
from jaxlearn.data.acoustic_cavity import acoustic_cavity
from jaxlearn.data.batches import batches
from jaxlearn.data.negative_data import LabelEmbedding, label_rows, overwrite_label
from jaxlearn.data.vowels import planted_vowels
from jaxlearn.models.layers.gelu import gelu
from jaxlearn.models.physical import (
    AcousticTwin,
    PhysicalLayer,
    acoustic,
    metasurface,
    physical_layer,
)
from jaxlearn.models.physical.black_box import Physics
from jaxlearn.models.physical.optics import transmission
from jaxlearn.rules import backprop
from jaxlearn.runtime import fit

Amplitude = float | jax.Array
MEAN, STD = 0.1307, 0.3081
"""Of MNIST's pixels; the published code scales Fashion-MNIST by them, too."""


class Parts(NamedTuple):
    """Training and test examples of one seed, and the largest |x| of the training inputs."""

    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    classes: int
    amplitude: float


class Twin(NamedTuple):
    """The cavity's digital twin, its error on held-out pairs and that of a linear fit."""

    params: Params
    rmse: float
    linear_rmse: float


def parts(config: Any, seed: int) -> Parts:
    """What a row trains and is tested on."""
    if config.system in ("acoustic", "microwave"):
        planted = config.size == "smoke"
        data = planted_vowels(40, seed=seed) if planted else load("vowels", seed=seed)
        train, test = data.train, data.test
    else:
        data = load(config.images, train=config.examples or None, validation=0)
        train, test = (_standard(part, config) for part in (data.train, data.test))
    return Parts(train, test, len(data.classes), float(np.abs(train["inputs"]).max()))


def _standard(part: Mapping[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    x = (part["inputs"][..., 0] - MEAN) / STD
    return {**part, "inputs": x if config.system == "optics" else x.reshape(len(x), -1)}


def rmse(outputs: jax.Array, batch: Mapping[str, Any]) -> tuple[jax.Array, dict[str, jax.Array]]:
    """`sqrt(mean (y - target)^2)` over examples and tones."""
    loss = jnp.sqrt(jnp.mean((outputs - batch["targets"]) ** 2))
    return loss, {"loss": loss}


@cache
def twin(epochs: int, learning_rate: float) -> Twin:
    """Fit the twin to the measured pairs: Adam, RMSE, batches of 100."""
    data = acoustic_cavity()
    stream = batches(data["train"], 100, seed=0)
    net = from_linen(AcousticTwin())
    rule, tx = backprop(net, rmse), optax.adam(learning_rate)
    fitted = fit(
        make_step(rule, tx),
        make_state(rule, tx, jax.random.key(0), stream(0)),
        stream,
        steps=epochs * stream.steps_per_epoch,
        chunk=10 * stream.steps_per_epoch,
        on_device=True,
        progress=False,
    )
    params, test = fitted.state.params, data["test"]
    wide = lambda part: np.c_[part["inputs"], np.ones(len(part["inputs"]))]
    weights = np.linalg.lstsq(wide(data["train"]), data["train"]["targets"], rcond=None)[0]
    error = lambda found: float(np.sqrt(np.mean((np.asarray(found) - test["targets"]) ** 2)))
    return Twin(
        params, error(net.apply(params, {}, test["inputs"])[0]), error(wide(test) @ weights)
    )


def cavity(config: Any) -> Params:
    """The acoustic system: the fitted twin, in the smoke preset one of random weights."""
    if config.size == "smoke":
        return AcousticTwin().init(jax.random.key(1), jnp.ones((1, 20)))["params"]
    return twin(config.twin_epochs, config.twin_learning_rate).params


def drifted(params: Params, amount: float) -> Params:
    """The system in other surroundings: weights times `(1 + amount N(0, 1)) / sqrt(1 + amount^2)`.

    The law of the weights keeps its scale, and so do the amplitudes that are measured.
    """
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    scale = (1 + amount**2) ** -0.5
    noise = lambda key, leaf: scale * (1 + amount * jax.random.normal(key, leaf.shape))
    return structure.unflatten(
        leaf * noise(key, leaf) for key, leaf in zip(keys, leaves, strict=True)
    )


def physics_of(config: Any, params: Params | None = None) -> Physics | None:
    """The physical system of a row; the acoustic one has parameters."""
    if config.system == "acoustic":
        return acoustic(cavity(config) if params is None else params)
    if config.system == "microwave":
        return metasurface(jax.random.key(1), 2 * config.width, config.width)
    if config.system == "optics":
        return transmission(jax.random.key(1), config.camera)
    return None


def layers_of(config: Any, physics: Physics | None) -> list[PhysicalLayer]:
    """The layers of a row: the physical ones end linearly, the digital ones in a GELU."""
    activation = gelu if config.system == "digital" else None
    skip = config.system != "optics"
    layer = physical_layer(physics, config.width, skip=skip, activation=activation)
    return [layer] * config.layers


def embedding_of(config: Any, classes: int, amplitude: Amplitude) -> LabelEmbedding:
    """Labels stand in the first entries, in the optical system above and below the image."""
    return (label_rows if config.system == "optics" else overwrite_label)(classes, amplitude)


def stacked(each: Sequence[dict[str, np.ndarray]]) -> dict[str, jax.Array]:
    """The examples of all seeds with a leading axis of seeds."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *each)
