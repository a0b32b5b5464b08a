"""A shallow network of convolutions and dense layers in PyTorch: backprop, or targets per layer."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.torch import (
    affine,
    agree,
    in_order,
    outputs,
    placed,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import FROZEN, Rule


def start(
    rule: Rule,
    program: Program,
    *,
    pools: Sequence[int],
    rates: Sequence[float],
    momentum: float,
):
    """A step of SGD with Nesterov momentum, blocks ending in tanh.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch. Where the state has codes of the classes, every block learns
            towards those of its examples under half the squared distance.
        pools: side of the windows that each block, and the readout, begins with.
        rates: of the readout, of dense layers and of convolutions.
        momentum: of SGD.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    images = placed(program.batch["inputs"]).permute(0, 3, 1, 2).float().contiguous()
    labels = tensor(program.batch["labels"]).long()
    *blocks, readout = in_order(params)
    heads = program.state.state.get(FROZEN, {}).get("heads", {})
    codes = [_channels_first(placed(head["codes"])) for head in in_order(heads)]

    def linear(p: Any, x: Any, pool: int) -> Any:
        x = f.max_pool2d(x, pool) if pool > 1 else x
        if "Conv_0" in p:
            own = p["Conv_0"]
            return f.conv2d(x, own["kernel"], own["bias"], padding="same")
        flat = x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x
        return affine(p["Dense_0"], flat)

    def forward() -> Any:
        x = images
        for block, pool in zip(blocks, pools, strict=False):
            x = t.tanh(linear(block, x, pool))
        return linear(readout, x, pools[-1])

    def local() -> Iterator[Any]:
        x = images
        for block, pool, code in zip(blocks, pools, codes, strict=False):
            x = t.tanh(linear(block, x.detach(), pool))
            yield (code[labels] - x).square().sum() / (2 * len(x))
        yield f.cross_entropy(linear(readout, x.detach(), pools[-1]), labels)

    agree(outputs(rule, program), forward, "network of blocks")
    groups = [
        {"params": jax.tree.leaves(block), "lr": rates[2 if "Conv_0" in block else 1]}
        for block in blocks
    ]
    groups.append({"params": jax.tree.leaves(readout), "lr": rates[0]})
    sgd = t.optim.SGD(groups, rates[0], momentum=momentum, nesterov=True)
    whole = lambda: [f.cross_entropy(forward(), labels)]
    return stepper(local if codes else whole, sgd)


def _channels_first(codes: Any) -> Any:
    """`[classes, H, W, C]` to `[classes, C, H, W]`."""
    return codes.permute(0, 3, 1, 2) if codes.ndim == 4 else codes
