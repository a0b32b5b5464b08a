"""A wide residual network in PyTorch, without the second norm of its blocks."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.harness import Program
from experiments.peers.resnet import moved
from experiments.peers.torch import (
    agree,
    batch_norm,
    in_order,
    leaves,
    outputs,
    placed,
    running_statistics,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import Rule


def start(rule: Rule, program: Program, images: Any, *, pad: int, rate: float, decay: float):
    """A step of SGD with Nesterov momentum 0.9.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        images: `[batch, H, W, C]` as the network sees them.
        pad: pixels of zeros around a picture before it is cut and flipped.
        rate, decay: learning rate and weight decay.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    x0 = placed(images).permute(0, 3, 1, 2).contiguous()
    labels = tensor(program.batch["labels"]).long()
    running = running_statistics(params)
    stem, *blocks, classifier = in_order(params)

    def conv(p: Mapping[str, Any], x: Any, stride: int = 1) -> Any:
        return f.conv2d(x, p["kernel"], stride=stride, padding=p["kernel"].shape[-1] // 2)

    def forward(x: Any, *, train: bool) -> Any:
        x = conv(stem["stem"], x)
        for i, p in enumerate(blocks):
            stride = 2 if i and "shortcut" in p else 1
            a = f.relu(batch_norm(x, p["norm1"], running, train))
            y = conv(p["conv2"], f.relu(conv(p["conv1"], a, stride)))
            x = y + (conv(p["shortcut"], a, stride) if "shortcut" in p else x)
        pooled = f.relu(batch_norm(x, classifier["norm"], running, train)).mean((2, 3))
        return f.linear(pooled, classifier["classifier"]["kernel"].T)

    def taught() -> Iterator[Any]:
        yield f.cross_entropy(forward(moved(x0, pad, "constant"), train=True), labels)

    agree(outputs(rule, program), lambda: forward(x0, train=False), "wide ResNet")
    sgd = t.optim.SGD(leaves(params), rate, momentum=0.9, nesterov=True, weight_decay=decay)
    return stepper(taught, sgd)
