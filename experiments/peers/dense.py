"""A dense network in PyTorch: backprop, or every layer with a linear head of its own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from experiments.harness import Program
from experiments.peers.torch import (
    affine,
    agree,
    in_order,
    leaves,
    outputs,
    placed,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import Rule

Loss = Callable[[Any, Any], Any]
"""From logits and labels, tensors, to a number."""


def start(
    rule: Rule,
    program: Program,
    *,
    rate: float,
    momentum: float | None = None,
    nesterov: bool = False,
    decay: float = 0.0,
    activation: str = "relu",
    masked: bool = False,
    loss: Callable[[Program], Loss] | None = None,
):
    """A step of Adam, or of SGD with momentum; a tree with `heads` learns locally.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        rate: learning rate.
        momentum: of SGD; Adam by default.
        nesterov, decay: of SGD, its kind of momentum and weight decay.
        activation: of all layers but the last, a name of `torch`.
        masked: weights that are 0 stay so: they are set to 0 after each update, as the published
            codes of sparse training do.
        loss: makes the loss of a program without heads; cross-entropy by default.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    inputs = placed(program.batch["inputs"]).flatten(1)
    labels = tensor(program.batch["labels"]).long()
    act: Callable[[Any], Any] = getattr(t, activation)
    heads = [list(linears(head)) for head in in_order(params.get("heads", {}))]
    modules = list(linears({name: part for name, part in params.items() if name != "heads"}))

    def forward() -> Any:
        x = inputs
        for p in modules[:-1]:
            x = act(affine(p, x))
        return affine(modules[-1], x)

    def local() -> Iterator[Any]:
        x = inputs
        for i, p in enumerate(modules[:-2]):
            x = act(affine(p, x.detach()))
            (head,) = heads[i]
            yield f.cross_entropy(affine(head, x), labels)
        # the last layer learns with the readout
        x = act(affine(modules[-2], x.detach()))
        yield f.cross_entropy(affine(modules[-1], x), labels)

    agree(outputs(rule, program), forward, "dense network")
    measure: Loss = f.cross_entropy if loss is None else loss(program)
    whole = lambda: [measure(forward(), labels)]
    own = leaves(params)
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    made = t.optim.Adam(own, rate) if momentum is None else t.optim.SGD(own, rate, **options)
    step = stepper(local if heads else whole, made)
    if not masked:
        return step
    held = [(leaf, leaf.detach() != 0) for leaf in own if leaf.ndim > 1]

    def sparse() -> float:
        total = step()
        with t.no_grad():
            for leaf, mask in held:
                leaf.mul_(mask)
        return total

    return sparse


def linears(tree: Mapping[str, Any]) -> Iterator[Any]:
    """The linear maps of a tree, from below."""
    if "kernel" in tree:
        yield tree
        return
    for name in sorted(tree, key=lambda name: (int(name) if name.isdigit() else 0, name)):
        yield from linears(tree[name])
