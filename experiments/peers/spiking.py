"""A convolutional spiking network in PyTorch: through time, or every step by itself (SLTT)."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from experiments.harness import Program
from experiments.peers.torch import (
    agree,
    batch_norm,
    in_order,
    leaves,
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
):
    """A step of SGD with momentum 0.9, every step of time taught by itself or all at the end.

    Args:
        program: ours, with its state and batch.
        images: `[batch, H, W, C]` as the network sees them.
        T: steps of time. leak: share of the membrane that stays.
        share: of the squared error in the loss.
        online: cut the graph after every step.
        rate, decay: learning rate and weight decay.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    x = t.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()
    labels = tensor(program.batch["labels"]).long()
    spike, running = _surrogate(), running_statistics(params)
    *blocks, readout = in_order(params)

    def current(block: Any, x: Any, stride: int) -> Any:
        kernel, bias = block["Conv_0"]["kernel"], block["Conv_0"]["bias"]
        y = f.conv2d(x, kernel, bias, stride=stride, padding=1)
        return batch_norm(y, block["BatchNorm_0"], running, train=True)

    def steps(*, cut: bool):
        membranes: Membranes = [0.0] * len(blocks)
        for _ in range(T):
            h = x
            for i, block in enumerate(blocks):
                u = leak * membranes[i] + current(block, h, 2 if i else 1)
                h = spike.apply(u)
                membranes[i] = (u - h).detach() if cut else u - h
            flat = h.permute(0, 2, 3, 1).flatten(1)
            yield f.linear(flat, readout["Dense_0"]["kernel"].T, readout["Dense_0"]["bias"])

    def objective(logits: Any) -> Any:
        squared = f.mse_loss(logits, t.ones_like(logits))
        return (1 - share) * f.cross_entropy(logits, labels) + share * squared

    with t.no_grad():
        theirs: Any = sum(objective(logits) for logits in steps(cut=True)) / T
    # the loss, as a network that was never trained fires at batch statistics only
    ours = jax.jit(program.step)(program.state, program.batch)[1]["loss"]
    agree(ours, theirs, "spiking network")

    def taught() -> Iterator[Any]:
        if online:
            yield from (objective(logits) / T for logits in steps(cut=True))
        else:
            yield sum(objective(logits) for logits in steps(cut=False)) / T

    return stepper(taught, t.optim.SGD(leaves(params), rate, momentum=0.9, weight_decay=decay))


def _surrogate() -> Any:
    """Fires at 1; the derivative is the triangle `max(0, 1 - |u - 1|)`."""
    t = torch()

    def forward(ctx: Any, u: Any) -> Any:
        ctx.save_for_backward(u)
        return (u >= 1).to(u.dtype)

    def backward(ctx: Any, grad: Any) -> Any:
        (u,) = ctx.saved_tensors
        return grad * (1 - (u - 1).abs()).clamp(min=0)

    parts = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("Fire", (t.autograd.Function,), parts)
