"""Spiking networks to and from NIR, the exchange format of simulators and neuromorphic chips.

Pedersen et al., "Neuromorphic intermediate representation: a unified instruction set for
interoperable brain-inspired computing", Nature Communications 2024, arXiv 2311.14641. NIR describes
neurons in continuous time; what runs here are steps of `dt`::

    NIR                                    here, with decay = 1 - dt/tau ("euler") or exp(-dt/tau)
    LIF    tau v' = (v_leak - v) + R I     u = decay v + (1 - decay) v_reset + (1 - decay) R x
    IF     v' = R I                        u = v + dt R x
    CubaLIF  tau_syn i' = -i + w_in S      i = alpha i + (1 - alpha) w_in x, then as LIF with R i
    LI, I    as LIF and IF                 the same, without spikes
    Threshold, Affine, Linear, Conv2d, Flatten

Its neurons fire at `v > v_threshold` and are reset to a value: `Neuron(strict=True, reset="hard")`.
Images have their channels first there and last here; weights are reordered on the way.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import singledispatch
from importlib import import_module
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
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
from jaxlearn.models.spiking_cnn import Linear
from jaxlearn.models.spiking_mlp import SpikingDense

Method = Literal["euler", "exact"]
NOTE = "jaxlearn"
"""The metadata of a node under this name hold the options of its layer, those of training too."""


class Clock(NamedTuple):
    """How continuous time becomes steps.

    Attributes:
        dt: seconds per step.
        method: forward Euler, or the exact solution for an input that is constant over a step.
    """

    dt: float
    method: Method

    def tau(self, decay: float) -> float:
        """The time constant of a decay below 1."""
        if self.method == "euler":
            return self.dt / (1 - decay)
        if decay == 0:
            raise ValueError('decay 0 has no time constant with method="exact"; use "euler"')
        return -self.dt / math.log(decay)

    def decay(self, tau: float) -> float:
        """The decay of a time constant."""
        decay = 1 - self.dt / tau if self.method == "euler" else math.exp(-self.dt / tau)
        if not 0 <= decay < 1:
            raise ValueError(f"tau={tau:g} is no time constant for steps of dt={self.dt:g}")
        return decay


class Place(NamedTuple):
    """Where a walk through the layers is.

    Attributes:
        shape: of one example.
        image: `[height, width, channels]` of the image that was flattened on the way, if any.
    """

    shape: tuple[int, ...]
    image: tuple[int, ...] | None = None


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
    nir, clock, place = package(), _clock(dt, method), Place(tuple(shape))
    nodes = [nir.Input({"input": np.array(_channels_first(place.shape))})]
    for i, layer in enumerate(layers):
        for leaf, own in _leaves(layer, params.get(str(i), {})):
            node, place = _node(leaf, own, place, clock)
            nodes.append(node)
    nodes.append(nir.Output({"output": np.array(_channels_first(place.shape))}))
    return nir.NIRGraph.from_list(*nodes)


def from_nir(
    graph: Any, *, dt: float = 1e-4, method: Method = "euler"
) -> tuple[list[linen.Module], Params]:
    """The layers of a NIR graph and their parameters, for `stack(map(from_linen, layers))`.

    What `to_nir` wrote comes back as it was, surrogates included. Neurons from elsewhere get the
    default surrogate; what scales their input (`r`, `w_in`) goes into the weights before them.

    Args:
        graph: a `nir.NIRGraph` that is a chain from its input to its output.
        dt: seconds that one step stands for.
        method: how a time constant becomes a decay.

    Raises:
        ValueError: when a node has no counterpart here (its name and the reason are in the line),
            or `nir` is missing.
    """
    package()
    clock, layers, params = _clock(dt, method), [], {}
    place = Place(_channels_last(_chain(graph)[0][1].output_type["output"]))
    for name, node in _chain(graph)[1:-1]:
        try:
            layer, own, gain = _layer(node, place, clock)
            _, place = _node(layer, own, place, clock)
            if gain != 1:
                before = _linear_before(layers, gain)
                params[before] = {name: gain * value for name, value in params[before].items()}
        except ValueError as error:
            raise ValueError(f"NIR node {name!r}: {error}") from None
        params[str(len(layers))] = own
        layers.append(layer)
    return layers, jax.tree.map(jnp.float32, params)


def package() -> Any:
    """The package `nir`, which is looked for only here.

    Raises:
        ValueError: when it is not installed.
    """
    try:
        return import_module("nir")
    except ImportError:
        raise ValueError("NIR needs the package nir; install jaxlearn[nir]") from None


def _clock(dt: float, method: Method) -> Clock:
    if dt <= 0 or method not in get_args(Method):
        raise ValueError(f"dt={dt}, method={method!r}: expected dt > 0 and 'euler' or 'exact'")
    return Clock(dt, method)


def _channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else tuple(shape)


def _channels_last(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(int(n) for n in shape)
    return (sizes[1], sizes[2], sizes[0]) if len(sizes) == 3 else sizes


def _order(image: tuple[int, ...] | None, rows: int) -> np.ndarray:
    """Which row of a dense kernel belongs to each entry of the image with channels first."""
    if image is None:
        return np.arange(rows)
    return np.arange(rows).reshape(image).transpose(2, 0, 1).ravel()


# layers that consist of others


@singledispatch
def _leaves(layer: linen.Module, params: Params) -> list[tuple[linen.Module, Params]]:
    return [(layer, params)]


@_leaves.register
def _(layer: SpikingDense, params: Params):
    neurons = layer.layer(layer.neuron)
    own = params.get(f"{type(neurons).__name__}_0", {})
    return [(Flatten(), {}), (linen.Dense(layer.width), params["Dense_0"]), (neurons, own)]


@_leaves.register
def _(layer: Linear, params: Params):
    return [(Flatten(), {}), (linen.Dense(layer.classes), params["Dense_0"])]


# from a layer to its node


@singledispatch
def _node(layer: linen.Module, params: Params, place: Place, clock: Clock) -> tuple[Any, Place]:
    raise ValueError(f"{type(layer).__name__} has no NIR form")


@_node.register
def _(layer: linen.Dense, params: Params, place: Place, clock: Clock):
    nir, kernel = package(), np.asarray(params["kernel"])
    if len(place.shape) != 1:
        raise ValueError(f"Dense on inputs of shape {place.shape} has no NIR form; flatten first")
    weight = kernel[_order(place.image, len(kernel))].T
    bias = np.asarray(params["bias"]) if layer.use_bias else None
    node = nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
    return node, Place((kernel.shape[1],))


@_node.register
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
        metadata=_note(layer),
    )
    return node, Place(_channels_last(node.output_type["output"]))


@_node.register
def _(layer: Flatten, params: Params, place: Place, clock: Clock):
    shape = np.array(_channels_first(place.shape))
    node = package().Flatten({"input": shape}, start_dim=0, end_dim=-1)
    image = place.shape if len(place.shape) == 3 else place.image
    return node, Place((math.prod(place.shape),), image)


@_node.register
def _(layer: Lif, params: Params, place: Place, clock: Clock):
    nir, neuron, fill = package(), layer.neuron, _filler(place)
    _check(neuron, "hard")
    levels = {"v_threshold": fill(neuron.threshold), "v_reset": fill(neuron.v_reset)}
    if neuron.decay == 1:
        node = nir.IF(r=fill(1 / clock.dt), **levels, metadata=_note(layer))
        return node, place
    r = 1.0 if neuron.input_decay else 1 / (1 - neuron.decay)
    tau, leak = fill(clock.tau(neuron.decay)), fill(neuron.v_reset)
    return nir.LIF(tau=tau, r=fill(r), v_leak=leak, **levels, metadata=_note(layer)), place


@_node.register
def _(layer: ParametricLif, params: Params, place: Place, clock: Clock):
    decay = float(jax.nn.sigmoid(-params["w"]))
    return _node(Lif(replace(layer.neuron, decay=decay)), {}, place, clock)


@_node.register
def _(layer: CurrentLif, params: Params, place: Place, clock: Clock):
    if layer.neuron.decay == 1 or layer.alpha == 1:
        raise ValueError("CurrentLif without a leak has no NIR form; use decays below 1")
    lif, _ = _node(Lif(layer.neuron), {}, place, clock)
    fill = _filler(place)
    return package().CubaLIF(
        tau_syn=fill(clock.tau(layer.alpha)),
        tau_mem=lif.tau,
        r=lif.r,
        v_leak=lif.v_leak,
        v_threshold=lif.v_threshold,
        v_reset=lif.v_reset,
        w_in=fill(1 / (1 - layer.alpha)),
        metadata=_note(layer),
    ), place


@_node.register
def _(layer: LeakyIntegrator, params: Params, place: Place, clock: Clock):
    nir, fill = package(), _filler(place)
    if layer.decay == 1:
        return nir.I(r=fill(1 / clock.dt), metadata=_note(layer)), place
    r, tau = fill(1 / (1 - layer.decay)), fill(clock.tau(layer.decay))
    return nir.LI(tau=tau, r=r, v_leak=fill(0.0), metadata=_note(layer)), place


@_node.register
def _(layer: Heaviside, params: Params, place: Place, clock: Clock):
    _check(layer.neuron, layer.neuron.reset)
    threshold = _filler(place)(layer.neuron.threshold)
    return package().Threshold(threshold, metadata=_note(layer)), place


def _filler(place: Place):
    """Arrays of one value per neuron, as NIR has them."""
    return lambda value: np.full(_channels_first(place.shape), float(value))


def _check(neuron: Neuron, reset: str) -> None:
    if neuron.reset != reset:
        raise ValueError(f'reset="{neuron.reset}" has no NIR form; use Neuron(reset="hard")')
    if not neuron.strict:
        raise ValueError("NIR fires above the threshold, not at it; use Neuron(strict=True)")


# from a node to its layer


def _chain(graph: Any) -> list[tuple[str, Any]]:
    """Names and nodes from the input to the output, one after the other."""
    if len(graph.inputs) != 1:
        raise ValueError(f"a chain has one input, found {len(graph.inputs)}")
    (name,) = graph.inputs
    found = []
    while name is not None:
        found.append((name, graph.nodes[name]))
        following = [after for before, after in graph.edges if before == name]
        if len(following) > 1 or len(found) > len(graph.nodes):
            raise ValueError(
                f"NIR node {name!r} is in a loop or has {len(following)} successors; "
                "only chains can be read"
            )
        name = following[0] if following else None
    if len(found) != len(graph.nodes):
        raise ValueError(
            f"{len(graph.nodes) - len(found)} NIR nodes are not on the chain from the "
            "input; only chains can be read"
        )
    return found


def _linear_before(layers: Sequence[linen.Module], gain: float) -> str:
    """The name of the layer whose weights can take a factor of what comes next."""
    for i, layer in reversed(list(enumerate(layers))):
        if isinstance(layer, (linen.Dense, Conv)):
            return str(i)
        if not isinstance(layer, Flatten):
            break
    raise ValueError(
        f"scales the input by {gain:g}, and no linear node comes before it to take the factor"
    )


def _layer(node: Any, place: Place, clock: Clock) -> tuple[linen.Module, Params, float]:
    """The layer of a node, its parameters, and the factor that its input lacks."""
    kind = type(node).__name__
    if kind not in READERS:
        raise ValueError(f"{kind} has no counterpart; there are {', '.join(READERS)}")
    layer, params, gain = READERS[kind](node, place, clock)
    layer = _as_noted(layer, params, node, place, clock)
    # NIR's convolutions always have a bias
    unused = () if getattr(layer, "bias", True) else ("bias",)
    return layer, {name: value for name, value in params.items() if name not in unused}, gain


def _read_linear(node: Any, place: Place, clock: Clock):
    weight = np.asarray(node.weight)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {weight.shape}, expected [outputs, inputs]")
    kernel = np.empty_like(weight.T)
    kernel[_order(place.image, weight.shape[1])] = weight.T
    bias = {"bias": np.asarray(node.bias)} if hasattr(node, "bias") else {}
    return linen.Dense(weight.shape[0], use_bias=bool(bias)), {"kernel": kernel} | bias, 1.0


def _read_conv(node: Any, place: Place, clock: Clock):
    out, _, height, width = node.weight.shape
    stride, dilation = (tuple(np.broadcast_to(v, 2).tolist()) for v in (node.stride, node.dilation))
    padding = node.padding
    if isinstance(padding, str):
        same = (height // 2, width // 2) if height % 2 and width % 2 and stride == (1, 1) else None
        padding = {"same": same, "valid": (0, 0)}[padding]
    fits = padding is not None and tuple(np.broadcast_to(padding, 2).tolist()) == (height // 2,) * 2
    if not (fits and height == width and stride[0] == stride[1]):
        raise ValueError(
            f"Conv2d of {height}x{width}, stride {stride}, padding {node.padding}: "
            "expected a square padded by half its side"
        )
    if dilation != (1, 1) or node.groups != 1:
        raise ValueError(f"Conv2d with dilation {dilation}, groups {node.groups}: expected 1")
    kernel = np.asarray(node.weight).transpose(2, 3, 1, 0)
    return Conv(out, height, stride[0]), {"kernel": kernel, "bias": np.asarray(node.bias)}, 1.0


def _read_flatten(node: Any, place: Place, clock: Clock):
    if node.start_dim != 0 or node.end_dim not in (-1, len(place.shape) - 1):
        raise ValueError(f"Flatten from {node.start_dim} to {node.end_dim}: expected all axes")
    return Flatten(), {}, 1.0


def _read_lif(node: Any, place: Place, clock: Clock):
    decay = clock.decay(_one(node, "tau"))
    neuron, gain = _neuron(node, decay, _one(node, "r") * (1 - decay))
    return Lif(neuron), {}, gain


def _read_if(node: Any, place: Place, clock: Clock):
    neuron, gain = _neuron(node, 1.0, _one(node, "r") * clock.dt)
    return Lif(neuron), {}, gain


def _read_cuba(node: Any, place: Place, clock: Clock):
    alpha, decay = (clock.decay(_one(node, name)) for name in ("tau_syn", "tau_mem"))
    neuron, gain = _neuron(node, decay, _one(node, "r") * (1 - decay))
    # the current is linear in the input, so that both factors can come before it
    return CurrentLif(neuron, alpha), {}, gain * _rounded(_one(node, "w_in") * (1 - alpha))


def _read_li(node: Any, place: Place, clock: Clock):
    decay = clock.decay(_one(node, "tau"))
    if _one(node, "v_leak"):
        raise ValueError(f"v_leak={_one(node, 'v_leak'):g}, expected 0 in a leaky integrator")
    return LeakyIntegrator(decay), {}, _rounded(_one(node, "r") * (1 - decay))


def _read_i(node: Any, place: Place, clock: Clock):
    return LeakyIntegrator(1.0), {}, _rounded(_one(node, "r") * clock.dt)


def _read_threshold(node: Any, place: Place, clock: Clock):
    return Heaviside(Neuron(threshold=_one(node, "threshold"), strict=True)), {}, 1.0


READERS = {
    "Linear": _read_linear,
    "Affine": _read_linear,
    "Conv2d": _read_conv,
    "Flatten": _read_flatten,
    "LIF": _read_lif,
    "IF": _read_if,
    "CubaLIF": _read_cuba,
    "LI": _read_li,
    "I": _read_i,
    "Threshold": _read_threshold,
}
"""What is understood, by the name of the node's class."""


def _one(node: Any, name: str) -> float:
    """The value that all neurons of a node share."""
    values = np.unique(getattr(node, name))
    if len(values) != 1:
        raise ValueError(f"{name} differs between neurons, which one layer here cannot have")
    return float(values[0])


def _rounded(gain: float) -> float:
    """A gain, 1 where it is that but for rounding: `to_nir` divides by what is multiplied here."""
    return 1.0 if math.isclose(gain, 1, rel_tol=1e-5) else gain


def _neuron(node: Any, decay: float, gain: float) -> tuple[Neuron, float]:
    """A strict neuron with a hard reset from the levels of a node, and what its input lacks.

    A gain of `1 - decay` is an option of the neuron.
    """
    v_reset = _one(node, "v_reset")
    if decay < 1 and _one(node, "v_leak") != v_reset:
        raise ValueError(
            f"v_leak={_one(node, 'v_leak'):g} is not v_reset={v_reset:g}, as it has to be here"
        )
    scaled = 0 < decay < 1 and math.isclose(gain, 1 - decay, rel_tol=1e-5)
    neuron = Neuron(
        decay=decay,
        threshold=_one(node, "v_threshold"),
        reset="hard",
        v_reset=v_reset,
        input_decay=scaled,
        strict=True,
    )
    return neuron, 1.0 if scaled else _rounded(gain)


# what NIR has no field for: options of training, and all digits of a decay


def _note(layer: linen.Module) -> dict[str, str]:
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


def _as_noted(layer, params: Params, node: Any, place: Place, clock: Clock) -> linen.Module:
    """The layer with the noted options, if those describe this very node."""
    text = node.metadata.get(NOTE) if isinstance(node.metadata, dict) else None
    make, _ = NOTED.get(type(layer).__name__, (None, ()))
    if text is None or make is None:
        return layer
    try:
        options = json.loads(text)
        if "neuron" in options:
            options["neuron"] = Neuron(**options["neuron"])
        noted = make(**options)
        again, _ = _node(noted, params, place, clock)
    except (ValueError, TypeError, KeyError):  # a note that somebody else wrote
        return layer
    fields = set(vars(again)) - {"metadata", "input_type", "output_type"}
    same = all(np.array_equal(getattr(again, f), getattr(node, f)) for f in fields)
    return noted if same and type(again) is type(node) else layer
