"""A convolutional spiking network in PyTorch: through time, or every step by itself (SLTT).

Its neurons are written out, or those of spikingjelly or snnTorch; the rest is the same.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from experiments.harness import Program
from experiments.peers.neurons import Step, firing, spikingjelly, triangle
from experiments.peers.torch import (
    affine,
    agree,
    batch_norm,
    in_order,
    leaves,
    loss_of,
    placed,
    running_statistics,
    stepper,
    tensor,
    torch,
    weights,
)

Membranes = list[Any]


def start(
    program: Program,
    images: Any,
    *,
    T: int,
    leak: float,
    share: float,
    online: bool,
    rate: float,
    decay: float,
    package: str = "torch",
):
    """A step of SGD with momentum 0.9, every step of time taught by itself or all at the end.

    Args:
        program: ours, with its state and batch.
        images: `[batch, H, W, C]` as the network sees them.
        T: steps of time. leak: share of the membrane that stays.
        share: of the squared error in the loss.
        online: cut the graph after every step.
        rate, decay: learning rate and weight decay.
        package: whose neurons.

    Raises:
        ValueError: when its loss is not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    x = placed(images).permute(0, 3, 1, 2).contiguous()
    labels = tensor(program.batch["labels"]).long()
    running = running_statistics(params)
    *blocks, readout = in_order(params)
    neurons = [NEURONS[package](leak) for _ in blocks]

    def current(block: Any, x: Any, stride: int) -> Any:
        kernel, bias = block["Conv_0"]["kernel"], block["Conv_0"]["bias"]
        y = f.conv2d(x, kernel, bias, stride=stride, padding=1)
        return batch_norm(y, block["BatchNorm_0"], running, train=True)

    def steps(*, cut: bool):
        membranes: Membranes = [None] * len(blocks)
        for _ in range(T):
            h = x
            for i, block in enumerate(blocks):
                x_t = current(block, h, 2 if i else 1)
                v = t.zeros_like(x_t) if membranes[i] is None else membranes[i]
                h, v = neurons[i](x_t, v)
                membranes[i] = v.detach() if cut else v
            flat = h.permute(0, 2, 3, 1).flatten(1)
            yield affine(readout["Dense_0"], flat)

    def objective(logits: Any) -> Any:
        squared = f.mse_loss(logits, t.ones_like(logits))
        return (1 - share) * f.cross_entropy(logits, labels) + share * squared

    def mean() -> Any:
        return sum(objective(logits) for logits in steps(cut=True)) / T

    # the loss, as a network that was never trained fires at batch statistics only
    agree(loss_of(program), mean, f"spiking network with neurons of {package}")

    def taught() -> Iterator[Any]:
        if online:
            yield from (objective(logits) / T for logits in steps(cut=True))
        else:
            yield sum(objective(logits) for logits in steps(cut=False)) / T

    return stepper(taught, t.optim.SGD(leaves(params), rate, momentum=0.9, weight_decay=decay))


def _written_out(leak: float) -> Step:
    spike = firing(triangle)

    def fire(x: Any, v: Any) -> tuple[Any, Any]:
        u = leak * v + x
        s = spike(u - 1)
        return s, u - s

    return fire


def _spikingjelly(leak: float) -> Step:
    """Its `LIFNode`, handed its membrane at every step; the quadratic's slope is the triangle."""
    options = {"tau": 1 / (1 - leak), "decay_input": False, "v_reset": None}
    node = spikingjelly("PiecewiseQuadratic", 1.0, **options)

    def fire(x: Any, v: Any) -> tuple[Any, Any]:
        node.v = v
        s = node(x)
        return s, node.v

    return fire


def _snntorch(leak: float) -> Step:
    """Its `Leaky` without a reset: the one it has comes a step later than ours, so ours is done."""
    leaky = import_module("snntorch").Leaky(
        beta=leak, threshold=1.0, reset_mechanism="none", spike_grad=firing(triangle)
    )

    def fire(x: Any, v: Any) -> tuple[Any, Any]:
        s, u = leaky(x, v)
        return s, u - s

    return fire


NEURONS: dict[str, Callable[[float], Step]] = {
    "torch": _written_out,
    "spikingjelly": _spikingjelly,
    "snntorch": _snntorch,
}
