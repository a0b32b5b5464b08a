"""A dense ReLU network in PyTorch: backprop, or every layer with a linear head of its own."""

from collections.abc import Iterator
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.torch import agree, in_order, leaves, placed, stepper, tensor, torch, weights
from jaxlearn.core import Rule


def start(rule: Rule, program: Program, *, rate: float):
    """A step of Adam; a tree with `heads` learns locally.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, params = torch(), torch().nn.functional, weights(program.state.params)
    inputs = placed(program.batch["inputs"]).flatten(1)
    labels = tensor(program.batch["labels"]).long()
    modules, heads = list(in_order(params)), list(in_order(params.get("heads", {})))

    def layer(p: Any, x: Any, *, last: bool) -> Any:
        if "0" in p:  # the last layer with the readout
            return layer(p["1"], layer(p["0"], x, last=False), last=True)
        (own,) = p.values()
        y = f.linear(x, own["kernel"].T, own["bias"])
        return y if last else f.relu(y)

    def forward() -> Any:
        x = inputs
        for i, module in enumerate(modules):
            x = layer(module, x, last=i == len(modules) - 1)
        return x

    def local() -> Iterator[Any]:
        x = inputs
        for i, module in enumerate(modules):
            last = i == len(modules) - 1
            x = layer(module, x.detach(), last=last)
            head = x if last else layer(heads[i], x, last=True)
            yield f.cross_entropy(head, labels)

    ours, _ = jax.jit(rule.predict)(program.state.params, program.state.state, program.batch)
    agree(ours, forward(), "dense network")
    whole = lambda: [f.cross_entropy(forward(), labels)]
    return stepper(local if heads else whole, t.optim.Adam(leaves(params), rate))
