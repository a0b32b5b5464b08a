"""From layers to the nodes of a NIR graph."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import singledispatch
from importlib import import_module
from typing import Any

import jax
import numpy as np
from flax import linen
from jaxlearn_kernels.lif import Neuron

from jaxlearn.core import Params
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.layers.current_lif import CurrentLif
from jaxlearn.models.layers.flatten import Flatten
from jaxlearn.models.layers.heaviside import Heaviside
from jaxlearn.models.layers.leaky_integrator import LeakyIntegrator
from jaxlearn.models.layers.lif import Lif
from jaxlearn.models.layers.parametric_lif import ParametricLif
from jaxlearn.models.nir.clock import Clock, Method, clock_of
from jaxlearn.models.nir.shapes import Place, channels_first, channels_last, order
from jaxlearn.models.spiking_cnn import Linear
from jaxlearn.models.spiking_mlp import SpikingDense

NOTE = "jaxlearn"
"""The metadata of a node under this name hold the options of its layer, those of training too."""


def to_nir(
    layers: Sequence[linen.Module],
    params: Params,
    shape: tuple[int, ...],
    *,
    dt: float = 1e-4,
    method: Method = "euler",
) -> Any:
    """The NIR graph of a stack of layers for one step.

    Args:
        layers: `Dense`, `Conv`, `Flatten`, `Lif`, `ParametricLif` (as it is after learning),
            `CurrentLif`, `LeakyIntegrator`, `Heaviside`, or `SpikingDense` and `Linear` of these.
        params: as `stack` of the layers has them.
        shape: of one input, without the batch axis: `[features]` or `[height, width, channels]`.
        dt: seconds that one step stands for.
        method: how a decay becomes a time constant.

    Returns:
        a `nir.NIRGraph`, which `nir.write` stores. Neurons on a flattened image are in the order of
        an image with channels first.

    Raises:
        ValueError: when a layer or one of its options has no NIR form, or `nir` is missing.
    """
    nir, clock, place = package(), clock_of(dt, method), Place(tuple(shape))
    nodes = [nir.Input({"input": np.array(channels_first(place.shape))})]
    for i, layer in enumerate(layers):
        for leaf, own in leaves_of(layer, params.get(str(i), {})):
            node, place = node_of(leaf, own, place, clock)
            nodes.append(node)
    nodes.append(nir.Output({"output": np.array(channels_first(place.shape))}))
    return nir.NIRGraph.from_list(*nodes)


def package() -> Any:
    """The package `nir`, which is looked for only here.

    Raises:
        ValueError: when it is not installed.
    """
    try:
        return import_module("nir")
    except ImportError:
        raise ValueError("NIR needs the package nir; install jaxlearn[nir]") from None


# layers that consist of others


@singledispatch
def leaves_of(layer: linen.Module, params: Params) -> list[tuple[linen.Module, Params]]:
    """A layer as the layers it consists of, in order, with their parameters."""
    return [(layer, params)]


@leaves_of.register
def _(layer: SpikingDense, params: Params):
    neurons = layer.layer(layer.neuron)
    own = params.get(f"{type(neurons).__name__}_0", {})
    return [(Flatten(), {}), (linen.Dense(layer.width), params["Dense_0"]), (neurons, own)]


@leaves_of.register
def _(layer: Linear, params: Params):
    return [(Flatten(), {}), (linen.Dense(layer.classes), params["Dense_0"])]


# from a layer to its node


@singledispatch
def node_of(layer: linen.Module, params: Params, place: Place, clock: Clock) -> tuple[Any, Place]:
    """The node of a layer, and where the walk is behind it.

    Raises:
        ValueError: when the layer or one of its options has no NIR form.
    """
    raise ValueError(f"{type(layer).__name__} has no NIR form")


@node_of.register
def _(layer: linen.Dense, params: Params, place: Place, clock: Clock):
    nir, kernel = package(), np.asarray(params["kernel"])
    if len(place.shape) != 1:
        raise ValueError(f"Dense on inputs of shape {place.shape} has no NIR form; flatten first")
    weight = kernel[order(place.image, len(kernel))].T
    bias = np.asarray(params["bias"]) if layer.use_bias else None
    node = nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
    return node, Place((kernel.shape[1],))


@node_of.register
def _(layer: Conv, params: Params, place: Place, clock: Clock):
    kernel = np.asarray(params["kernel"])
    node = package().Conv2d(
        input_shape=place.shape[:2],
        weight=kernel.transpose(3, 2, 0, 1),
        stride=layer.stride,
        padding=layer.size // 2,
        dilation=1,
        groups=1,
        bias=np.asarray(params["bias"]) if layer.bias else np.zeros(layer.channels, kernel.dtype),
        metadata=note_of(layer),
    )
    return node, Place(channels_last(node.output_type["output"]))


@node_of.register
def _(layer: Flatten, params: Params, place: Place, clock: Clock):
    shape = np.array(channels_first(place.shape))
    node = package().Flatten({"input": shape}, start_dim=0, end_dim=-1)
    image = place.shape if len(place.shape) == 3 else place.image
    return node, Place((math.prod(place.shape),), image)


@node_of.register
def _(layer: Lif, params: Params, place: Place, clock: Clock):
    nir, neuron, fill = package(), layer.neuron, _filler(place)
    _check(neuron, "hard")
    levels = {"v_threshold": fill(neuron.threshold), "v_reset": fill(neuron.v_reset)}
    if neuron.decay == 1:
        node = nir.IF(r=fill(1 / clock.dt), **levels, metadata=note_of(layer))
        return node, place
    r = 1.0 if neuron.input_decay else 1 / (1 - neuron.decay)
    tau, leak = fill(clock.tau(neuron.decay)), fill(neuron.v_reset)
    return nir.LIF(tau=tau, r=fill(r), v_leak=leak, **levels, metadata=note_of(layer)), place


@node_of.register
def _(layer: ParametricLif, params: Params, place: Place, clock: Clock):
    decay = float(jax.nn.sigmoid(-params["w"]))
    return node_of(Lif(replace(layer.neuron, decay=decay)), {}, place, clock)


@node_of.register
def _(layer: CurrentLif, params: Params, place: Place, clock: Clock):
    if layer.neuron.decay == 1 or layer.alpha == 1:
        raise ValueError("CurrentLif without a leak has no NIR form; use decays below 1")
    lif, _ = node_of(Lif(layer.neuron), {}, place, clock)
    fill = _filler(place)
    return package().CubaLIF(
        tau_syn=fill(clock.tau(layer.alpha)),
        tau_mem=lif.tau,
        r=lif.r,
        v_leak=lif.v_leak,
        v_threshold=lif.v_threshold,
        v_reset=lif.v_reset,
        w_in=fill(1 / (1 - layer.alpha)),
        metadata=note_of(layer),
    ), place


@node_of.register
def _(layer: LeakyIntegrator, params: Params, place: Place, clock: Clock):
    nir, fill = package(), _filler(place)
    if layer.decay == 1:
        return nir.I(r=fill(1 / clock.dt), metadata=note_of(layer)), place
    r, tau = fill(1 / (1 - layer.decay)), fill(clock.tau(layer.decay))
    return nir.LI(tau=tau, r=r, v_leak=fill(0.0), metadata=note_of(layer)), place


@node_of.register
def _(layer: Heaviside, params: Params, place: Place, clock: Clock):
    _check(layer.neuron, layer.neuron.reset)
    threshold = _filler(place)(layer.neuron.threshold)
    return package().Threshold(threshold, metadata=note_of(layer)), place


def _filler(place: Place):
    """Arrays of one value per neuron, as NIR has them."""
    return lambda value: np.full(channels_first(place.shape), float(value))


def _check(neuron: Neuron, reset: str) -> None:
    if neuron.reset != reset:
        raise ValueError(f'reset="{neuron.reset}" has no NIR form; use Neuron(reset="hard")')
    if not neuron.strict:
        raise ValueError("NIR fires above the threshold, not at it; use Neuron(strict=True)")


# what NIR has no field for: options of training, and all digits of a decay


def note_of(layer: linen.Module) -> dict[str, str]:
    """Metadata with the options of a layer, to be read by `from_nir`."""
    options = {field: getattr(layer, field) for field in NOTED[type(layer).__name__][1]}
    return {NOTE: json.dumps(options, default=asdict)}


NOTED = {
    "Conv": (Conv, ("channels", "size", "stride", "bias")),
    "Lif": (Lif, ("neuron",)),
    "CurrentLif": (CurrentLif, ("neuron", "alpha")),
    "LeakyIntegrator": (LeakyIntegrator, ("decay", "detach_carry")),
    "Heaviside": (Heaviside, ("neuron",)),
}
"""Layers whose options are noted, by name, with the names of the options."""
