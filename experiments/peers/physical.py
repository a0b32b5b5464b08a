"""The digital network of PhyLL in PyTorch, taught by PhyLL or by backpropagation."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from experiments.harness import Program
from experiments.peers.torch import affine, agree, in_order, leaves, placed, tensor, torch, weights
from jaxlearn.core import FROZEN

CLASSES = 10


def start(
    program: Program,
    predicted: Callable[[], Any],
    *,
    amplitude: float,
    theta: float,
    inner_steps: int,
    rate: float,
):
    """So many updates by Adam on one batch; layers with a direction each learn one by one.

    Args:
        program: its state and batch.
        predicted: what ours predicts for the batch.
        amplitude: of a label in the input.
        theta: of the contrast.
        inner_steps: updates of the network, or of each layer.
        rate: learning rate.
    """
    t, params = torch(), weights(program.state.params)
    x, labels = placed(program.batch["inputs"]), tensor(program.batch["labels"]).long()
    layers = [part["linear"] for part in in_order(params) if "linear" in part]
    rest = [part for part in in_order(params) if "linear" not in part]
    adam = lambda part: t.optim.Adam(leaves(part), rate)
    if rest:
        forward = lambda: affine(rest[0], _last(layers, x))
        loss = lambda: t.nn.functional.cross_entropy(forward(), labels)
        agree(predicted, forward, "network of backpropagation")
        return _repeated(loss, adam(params), inner_steps)

    heads = program.state.state[FROZEN]["heads"]
    directions = [tensor(part["direction"]) for part in in_order(heads)]
    agree(predicted, lambda: _scores(layers, directions, x, amplitude), "network of PhyLL")
    optimizers = [adam(layer) for layer in layers]

    def step() -> float:
        wrong = (labels + t.randint_like(labels, 1, CLASSES)) % CLASSES
        h = t.cat([_written(x, given, amplitude) for given in (labels, wrong)])
        total = 0.0
        for layer, xi, optimizer in zip(layers, directions, optimizers, strict=True):

            def loss(layer: Any = layer, xi: Any = xi, v: Any = h) -> Any:
                right, false = _goodness(_gelu(layer, v), xi).chunk(2)
                return t.nn.functional.softplus(-theta * (right - false)).mean()

            total += _repeated(loss, optimizer, inner_steps)()
            with t.no_grad():
                h = _gelu(layer, h)
        return total

    return step


def _repeated(loss: Callable[[], Any], optimizer: Any, times: int) -> Callable[[], float]:
    """So many updates; the mean of their losses, for which it waits once."""

    def step() -> float:
        total: Any = 0.0
        for _ in range(times):
            optimizer.zero_grad(set_to_none=True)
            value = loss()
            value.backward()
            optimizer.step()
            total = total + value.detach()
        return float(total) / times

    return step


def _gelu(p: Mapping[str, Any], x: Any) -> Any:
    return torch().nn.functional.gelu(affine(p, x))


def _outputs(layers: list[Any], x: Any) -> Iterator[Any]:
    for layer in layers:
        x = _gelu(layer, x)
        yield x


def _last(layers: list[Any], x: Any) -> Any:
    *_, last = _outputs(layers, x)
    return last


def _goodness(h: Any, xi: Any) -> Any:
    """The cosine of a row's angle to the direction."""
    return torch().nn.functional.cosine_similarity(h, xi[None], dim=1, eps=1e-6)


def _written(x: Any, labels: Any, amplitude: float) -> Any:
    """Inputs whose first entries are a label."""
    hot = torch().nn.functional.one_hot(labels, CLASSES).to(x.dtype)
    return torch().cat([amplitude * hot, x[:, CLASSES:]], 1)


def _scores(layers: list[Any], directions: list[Any], x: Any, amplitude: float) -> Any:
    """`[batch, classes]`: the goodness of all layers for every label."""
    t = torch()

    def score(label: int) -> Any:
        given = _written(x, t.full((len(x),), label, device=x.device), amplitude)
        pairs = zip(_outputs(layers, given), directions, strict=True)
        return sum(_goodness(h, xi) for h, xi in pairs)

    return t.stack([score(label) for label in range(CLASSES)], 1)
