"""A CIFAR ResNet with isolated layers and heads of copied blocks, in PyTorch."""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.harness import Program
from experiments.peers.torch import (
    Running,
    affine,
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
from jaxlearn.data.cifar10 import MEAN, STD

Tree = Mapping[str, Any]


def start(rule: Rule, program: Program, *, pad: int, rate: float, decay: float):
    """A step of backprop or of layers with local heads, as the parameters have them.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch; a tree with `heads` learns locally.
        pad: pixels of the reflected border for random crops.
        rate, decay: learning rate and weight decay of SGD with Nesterov momentum 0.9.
    """
    t, params = torch(), weights(program.state.params)
    images, labels = _normalised(program.batch["inputs"]), tensor(program.batch["labels"]).long()
    modules, heads = list(in_order(params)), list(in_order(params.get("heads", {})))
    running = running_statistics(params)

    def forward(x: Any, train: bool) -> Any:
        for module in modules:
            x = _forward(module, x, running, train=train)
        return x

    agree(outputs(rule, program), lambda: forward(images, train=False), "ResNet")
    entropy = t.nn.functional.cross_entropy

    def whole() -> Iterator[Any]:
        yield entropy(forward(moved(images, pad), train=True), labels)

    def local() -> Iterator[Any]:
        x = moved(images, pad)
        for i, module in enumerate(modules):
            x = _forward(module, x.detach(), running, train=True)
            head = _forward(heads[i], x, running, train=True) if i < len(heads) else x
            yield entropy(head, labels)

    sgd = t.optim.SGD(leaves(params), rate, momentum=0.9, nesterov=True, weight_decay=decay)
    return stepper(local if heads else whole, sgd)


def _forward(p: Tree, x: Any, running: Running, *, train: bool) -> Any:
    """A layer, a head or a stack, told apart by what they are made of."""
    f = torch().nn.functional
    if "Dense_0" in p:
        return affine(p["Dense_0"], x.mean((2, 3)))
    if "Conv_0" not in p:
        parts = list(in_order(p)) or [p[name] for name in sorted(p)]  # BasicBlock_i, Classifier_0
        for part in parts:
            x = _forward(part, x, running, train=train)
        return x

    def conv(i: int, x: Any, stride: int = 1) -> Any:
        kernel = p[f"Conv_{i}"]["kernel"]
        y = f.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return batch_norm(y, p[f"BatchNorm_{i}"], running, train)

    if "Conv_1" not in p:
        return f.relu(conv(0, x))
    shaped = "Conv_2" in p  # the shape changes: a shortcut of its own, and stride 2
    stride = 2 if shaped else 1
    inside = conv(1, f.relu(conv(0, x, stride)))
    return f.relu(inside + (conv(2, x, stride) if shaped else x))


def _normalised(images: Any) -> Any:
    """`[batch, H, W, 3]` of 0 … 255 to `[batch, 3, H, W]`."""
    t = torch()
    scaled = (placed(images) / 255 - t.tensor(MEAN)) / t.tensor(STD)
    return scaled.permute(0, 3, 1, 2).float().contiguous()


def moved(images: Any, pad: int, mode: str = "reflect") -> Any:
    """A random crop of `[batch, C, H, W]` with a border, and a random flip, per image."""
    t = torch()
    size, _, height, width = images.shape
    wide = t.nn.functional.pad(images, (pad,) * 4, mode=mode)
    down, right = t.randint(0, 2 * pad + 1, (2, size, 1))
    rows, columns = down + t.arange(height), right + t.arange(width)
    columns = t.where(t.rand(size, 1) < 0.5, columns.flip(1), columns)
    example = t.arange(size)[:, None, None]
    crop = wide[example, :, rows[:, :, None], columns[:, None, :]]
    return crop.permute(0, 3, 1, 2).contiguous()
