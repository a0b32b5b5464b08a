"""A dense network in PyTorch: backprop, or every layer with a linear head of its own."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.torch import agree, in_order, leaves, placed, stepper, tensor, torch, weights
from jaxlearn.core import Rule


def start(
    rule: Rule,
    program: Program,
    *,
    rate: float,
    momentum: float | None = None,
    activation: str = "relu",
):
    """A step of Adam, or of SGD with momentum; a tree with `heads` learns locally.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        rate: learning rate.
        momentum: of SGD; Adam by default.
        activation: of all layers but the last, a name of `torch`.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    inputs = placed(program.batch["inputs"]).flatten(1)
    labels = tensor(program.batch["labels"]).long()
    act: Callable[[Any], Any] = getattr(t, activation)
    heads = [list(linears(head)) for head in in_order(params.get("heads", {}))]
    modules = list(linears({name: part for name, part in params.items() if name != "heads"}))

    def affine(p: Any, x: Any) -> Any:
        return f.linear(x, p["kernel"].T, p["bias"])

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

    ours, _ = jax.jit(rule.predict)(program.state.params, program.state.state, program.batch)
    agree(ours, forward(), "dense network")
    whole = lambda: [f.cross_entropy(forward(), labels)]
    own = leaves(params)
    adam = momentum is None
    made = t.optim.Adam(own, rate) if adam else t.optim.SGD(own, rate, momentum=momentum)
    return stepper(local if heads else whole, made)


def linears(tree: Mapping[str, Any]) -> Iterator[Any]:
    """The linear maps of a tree, from below."""
    if "kernel" in tree:
        yield tree
        return
    for name in sorted(tree, key=lambda name: (int(name) if name.isdigit() else 0, name)):
        yield from linears(tree[name])
