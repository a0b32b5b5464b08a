"""A quadratic ResNet with shortcuts of zeros in PyTorch, every neuron of three convolutions."""

from collections.abc import Mapping
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.torch import (
    Running,
    affine,
    agree,
    batch_norm,
    in_order,
    outputs,
    placed,
    running_statistics,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import Rule
from jaxlearn.models.layers.quadratic import group_of

Tree = Mapping[str, Any]


def start(
    rule: Rule, program: Program, *, rate: float, momentum: float, decay: float, gamma: float
):
    """A step of SGD, the branches g and b learning at `gamma rate`.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch; layers of one branch are conventional ones.
        rate, momentum, decay: of SGD.
        gamma: what shrinks the rate of the quadratic branches.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    images = placed(program.batch["inputs"]).permute(0, 3, 1, 2).float().contiguous()
    labels = tensor(program.batch["labels"]).long()
    running = running_statistics(params)
    stem, *blocks, classifier = in_order(params)

    def forward(*, train: bool) -> Any:
        x = f.conv2d(images, stem["Conv_0"]["kernel"], padding=1)
        x = f.relu(batch_norm(x, stem["BatchNorm_0"], running, train))
        for block in blocks:
            x = _block(block, x, running, train=train)
        last = classifier["Dense_0"]
        return affine(last, x.mean((2, 3)))

    agree(outputs(rule, program), lambda: forward(train=False), "quadratic ResNet")
    groups: dict[bool, list[Any]] = {True: [], False: []}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        groups[group_of(name) in ("g", "b")].append(leaf)
    rates = [{"params": groups[False]}, {"params": groups[True], "lr": gamma * rate}]
    sgd = t.optim.SGD(rates, rate, momentum=momentum, weight_decay=decay)
    return stepper(lambda: [f.cross_entropy(forward(train=True), labels)], sgd)


def _block(p: Tree, x: Any, running: Running, *, train: bool) -> Any:
    f = torch().nn.functional
    missing = len(p["conv1"]["bias_r"]) - x.shape[1]
    stride = 2 if missing else 1
    y = f.relu(batch_norm(_quadratic(p["conv1"], x, stride), p["bn1"], running, train))
    y = batch_norm(_quadratic(p["conv2"], y, 1), p["bn2"], running, train)
    kept = x[:, :, ::stride, ::stride]
    return f.relu(y + f.pad(kept, (0, 0, 0, 0, missing // 2, missing // 2)))


def _quadratic(p: Tree, x: Any, stride: int) -> Any:
    """`conv_r(x) conv_g(x) + conv_b(x^2)`, or `conv_r(x)` where there is nothing else."""
    f = torch().nn.functional

    def branch(name: str, x: Any) -> Any:
        return f.conv2d(x, p[f"kernel_{name}"], p[f"bias_{name}"], stride=stride, padding=1)

    y = branch("r", x)
    return y if "kernel_g" not in p else y * branch("g", x) + branch("b", x.square())
