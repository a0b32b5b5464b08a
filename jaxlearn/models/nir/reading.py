"""From the nodes of a NIR graph to layers."""

import json
import math
from collections.abc import Sequence
from typing import Any

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
from jaxlearn.models.nir.clock import Clock, Method, clock_of
from jaxlearn.models.nir.shapes import Place, channels_last, order
from jaxlearn.models.nir.writing import NOTE, NOTED, node_of, package


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
    clock, layers, params = clock_of(dt, method), [], {}
    place = Place(channels_last(_chain(graph)[0][1].output_type["output"]))
    for name, node in _chain(graph)[1:-1]:
        try:
            layer, own, gain = _layer(node, place, clock)
            _, place = node_of(layer, own, place, clock)
            if gain != 1:
                before = _linear_before(layers, gain)
                params[before] = {name: gain * value for name, value in params[before].items()}
        except ValueError as error:
            raise ValueError(f"NIR node {name!r}: {error}") from None
        params[str(len(layers))] = own
        layers.append(layer)
    return layers, jax.tree.map(jnp.float32, params)


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
    kernel[order(place.image, weight.shape[1])] = weight.T
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


# what `note_of` wrote


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
        again, _ = node_of(noted, params, place, clock)
    except (ValueError, TypeError, KeyError):  # a note that somebody else wrote
        return layer
    fields = set(vars(again)) - {"metadata", "input_type", "output_type"}
    same = all(np.array_equal(getattr(again, f), getattr(node, f)) for f in fields)
    return noted if same and type(again) is type(node) else layer
