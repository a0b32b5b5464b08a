"""Neurons of PyTorch peers: written out, and spikingjelly's."""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

from experiments.peers.torch import torch

Spikes = Callable[[Any], Any]
"""`[T, batch, C]` currents to spikes, from a membrane of 0."""
Step = Callable[[Any, Any], tuple[Any, Any]]
"""`(current, membrane after the last reset) -> (spikes, membrane after this reset)`"""


def firing(slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """1 from 0 on, with `slope(u)` for a derivative."""
    t = torch()

    def forward(ctx: Any, u: Any) -> Any:
        ctx.save_for_backward(u)
        return (u >= 0).to(u.dtype)

    def backward(ctx: Any, grad: Any) -> Any:
        (u,) = ctx.saved_tensors
        return grad * slope(u)

    parts = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    made: Any = type("Fire", (t.autograd.Function,), parts)
    return made.apply


def triangle(u: Any) -> Any:
    """`max(0, 1 - |u|)`."""
    return (1 - u.abs()).clamp(min=0)


def atan(alpha: float) -> Callable[[Any], Any]:
    """`(alpha / 2) / (1 + (pi alpha u / 2)^2)`."""
    half = alpha / 2
    return lambda u: half / (1 + (math.pi * half * u).square())


def along(step: Step) -> Spikes:
    """A neuron's step, from one current to the next."""
    t = torch()

    def fire(y: Any) -> Any:
        v, rows = t.zeros_like(y[0]), []
        for y_t in y:
            s, v = step(y_t, v)
            rows.append(s)
        return t.stack(rows)

    return fire


def spikingjelly(name: str, alpha: float, **options: Any) -> Any:
    """Its `LIFNode` with a surrogate of its own, by name."""
    based = import_module("spikingjelly.activation_based")
    surrogate = getattr(import_module(f"{based.__name__}.surrogate"), name)(alpha)
    lif = import_module(f"{based.__name__}.neuron").LIFNode
    return lif(surrogate_function=surrogate, **options)


def spikingjelly_along(**options: Any) -> Spikes:
    """The same over all currents at once, with the ATan surrogate and a hard reset to 0."""
    node = spikingjelly("ATan", step_mode="m", v_reset=0.0, **options)

    def fire(y: Any) -> Any:
        node.reset()
        return node(y)

    return fire
