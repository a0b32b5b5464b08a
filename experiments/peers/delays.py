"""A spiking network with learned delays in PyTorch: bumps along the kernels of its convolutions.

Neurons are written out, or those of spikingjelly; the rest is the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.neurons import Spikes, along, atan, firing, spikingjelly_along
from experiments.peers.torch import (
    agree,
    batch_norm,
    in_order,
    outputs,
    running_statistics,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import Rule


def start(
    rule: Rule,
    program: Program,
    *,
    length: int,
    sigma: float,
    tau: float,
    dropout: float,
    rates: tuple[float, float],
    decay: float,
    package: str = "torch",
):
    """A step of one Adam for weights and another for positions.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        length: of the kernels in time.
        sigma: width of the bumps.
        tau: of the neurons.
        dropout: of spikes, one mask per sequence.
        rates: of weights and positions.
        decay: of kernels.
        package: whose neurons.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    x = tensor(program.batch["inputs"])
    labels = tensor(program.batch["labels"]).long()
    running = running_statistics(params)
    *hidden, readout = in_order(params)
    fire, half = NEURONS[package](tau), length // 2
    taps = t.arange(length)[:, None, None]

    def synapses(x: Any, layer: Any, *, train: bool) -> Any:
        own = layer["synapses"]["DelayedLinear_0"]
        centre = own["position"][0] + half
        if train:
            bump = (-0.5 * ((taps - centre) / (sigma + 0.27)) ** 2).exp()
            shares = bump / (bump.sum(0) + 1e-7)
        else:
            shares = (taps == centre.round()).float()
        kernel = (shares * own["kernel"][0]).permute(2, 1, 0)
        return f.conv1d(f.pad(x, (length - 1, (length - 1) // 2)), kernel)

    def forward(*, train: bool) -> Any:
        h = x.transpose(1, 2)
        for layer in hidden:
            y = synapses(h, layer, train=train)
            y = batch_norm(y, layer["BatchNorm_0"], running, train)
            spikes = fire(y.permute(2, 0, 1))
            mask = f.dropout(t.ones_like(spikes[0]), dropout, train)
            h = (spikes * mask).permute(1, 2, 0)
        v, total = 0.0, 0.0
        for y_t in synapses(h, readout, train=train).unbind(2):
            v = (1 - 1 / tau) * v + y_t
            total = total + v.softmax(-1)
        return total

    def taught() -> Iterator[Any]:
        yield f.cross_entropy(forward(train=True), labels)

    what = f"network with delays and neurons of {package}"
    agree(outputs(rule, program), lambda: forward(train=False), what)
    positions, kernels, norms = [], [], []
    for path, leaf in jax.tree.leaves_with_path(params):
        name = str(path[-1].key)
        (positions if name == "position" else kernels if name == "kernel" else norms).append(leaf)
    adam = t.optim.Adam(
        [
            {"params": kernels, "lr": rates[0], "weight_decay": decay, "betas": (0.95, 0.999)},
            {"params": norms, "lr": rates[0], "betas": (0.95, 0.999)},
            {"params": positions, "lr": rates[1]},
        ]
    )

    def cut(*_: Any) -> None:
        with t.no_grad():
            for position in positions:
                position.clamp_(-half, half)

    adam.register_step_post_hook(cut)
    return stepper(taught, adam)


def _written_out(tau: float) -> Spikes:
    spike = firing(atan(5.0))

    def step(y: Any, v: Any) -> tuple[Any, Any]:
        h = (1 - 1 / tau) * v + y
        s = spike(h - 1)
        return s, (1 - s.detach()) * h

    return along(step)


def _spikingjelly(tau: float) -> Spikes:
    return spikingjelly_along(alpha=5.0, tau=tau, decay_input=False, detach_reset=True)


NEURONS: dict[str, Callable[[float], Spikes]] = {
    "torch": _written_out,
    "spikingjelly": _spikingjelly,
}
