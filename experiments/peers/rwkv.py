"""SpikeGPT and RWKV in PyTorch, the recurrence a loop over tokens as its kernel needs CUDA.

Neurons are written out, or those of spikingjelly; the rest is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from experiments.harness import Program
from experiments.peers.neurons import Spikes, along, atan, firing, spikingjelly_along
from experiments.peers.torch import (
    agree,
    in_order,
    leaves,
    outputs,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import Rule

Tree = Mapping[str, Any]


def start(
    rule: Rule,
    program: Program,
    *,
    spiking: bool,
    rate: float,
    dropout: float,
    clip: float,
    l2_wrap: float,
    package: str = "torch",
):
    """A step of Adam (0.9, 0.99) on next tokens, the gradient cut to a norm.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        spiking: SpikeGPT; else RWKV.
        rate: learning rate.
        dropout: of every block's sum.
        clip: largest norm of the gradient.
        l2_wrap: pull on the largest logit.
        package: whose neurons.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    tokens = tensor(program.batch["inputs"]).long()
    labels = tensor(program.batch["labels"]).long()
    embedding, *blocks, readout = in_order(params)
    spikes = NEURONS[package]() if spiking else None
    binary = firing(atan(2.0))

    def forward(*, train: bool) -> Any:
        rows = embedding["embedding"][tokens]
        x = norm(binary(rows) if spiking else rows, embedding["norm"])
        for p in blocks:
            x = x + fired(_time_mix(norm(x, p["norm_1"]), p["mix_1"]))
            x = x + fired(_channel_mix(norm(x, p["norm_2"]), p["mix_2"]))
            x = f.dropout(x, dropout, train)
        return _linear(norm(x, readout["norm"]), readout["head"])

    def norm(x: Any, p: Tree) -> Any:
        return f.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], 1e-5)

    def fired(y: Any) -> Any:
        return y if spikes is None else spikes(y.transpose(0, 1)).transpose(0, 1)

    def taught() -> Iterator[Any]:
        logits = forward(train=True)
        pull = 0.5 * l2_wrap * logits.amax(-1).square().mean()
        yield f.cross_entropy(logits.flatten(0, 1), labels.flatten()) + (pull - pull.detach())

    what = f"RWKV with neurons of {package}" if spiking else "RWKV"
    agree(outputs(rule, program), lambda: forward(train=False), what)
    adam = t.optim.Adam(leaves(params), rate, betas=(0.9, 0.99), eps=4e-9)

    def cut(*_: Any) -> None:
        t.nn.utils.clip_grad_norm_(leaves(params), clip)

    adam.register_step_pre_hook(cut)
    return stepper(taught, adam)


def _linear(x: Any, p: Tree) -> Any:
    return torch().nn.functional.linear(x, p["kernel"].T)


def _shares(x: Any, p: Tree, names: str) -> Iterator[Any]:
    """`x mu + before (1 - mu)` for every share."""
    before = torch().nn.functional.pad(x, (0, 0, 1, -1))
    for name in names:
        mu = p[f"mix_{name}"]["mu"]
        yield x * mu + before * (1 - mu)


def _time_mix(x: Any, p: Tree) -> Any:
    xk, xv, xr = _shares(x, p, "kvr")
    k, v = _linear(xk, p["key"]), _linear(xv, p["value"])
    y = _wkv(k, v, -p["time_decay"].exp(), p["time_first"])
    return _linear(_linear(xr, p["receptance"]).sigmoid() * y, p["output"])


def _channel_mix(x: Any, p: Tree) -> Any:
    xk, xr = _shares(x, p, "kr")
    k = _linear(xk, p["key"]).relu().square()
    return _linear(xr, p["receptance"]).sigmoid() * _linear(k, p["value"])


def _wkv(k: Any, v: Any, w: Any, u: Any) -> Any:
    """The stable recurrence over `[batch, T, C]`."""
    t = torch()
    zero = t.zeros_like(k[:, 0])
    P, Q, m, rows = zero, zero, zero - 1e38, []
    for k_t, v_t in zip(k.unbind(1), v.unbind(1), strict=True):
        n = t.maximum(m, u + k_t)
        old, new = (m - n).exp(), (u + k_t - n).exp()
        rows.append((old * P + new * v_t) / (old * Q + new))
        n = t.maximum(m + w, k_t)
        old, new = (m + w - n).exp(), (k_t - n).exp()
        P, Q, m = old * P + new * v_t, old * Q + new, n
    return t.stack(rows, 1)


def _written_out() -> Spikes:
    spike = firing(atan(2.0))

    def step(y: Any, v: Any) -> tuple[Any, Any]:
        h = v + (y - v) / 2
        s = spike(h - 1)
        return s, (1 - s) * h

    return along(step)


NEURONS: dict[str, Callable[[], Spikes]] = {
    "torch": _written_out,
    "spikingjelly": partial(
        spikingjelly_along, alpha=2.0, tau=2.0, decay_input=True, detach_reset=False
    ),
}
