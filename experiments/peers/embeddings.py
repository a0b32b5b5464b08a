"""Embeddings of one hidden layer in PyTorch: of a model of its own, and BT2's."""

from collections.abc import Callable, Mapping
from typing import Any

from experiments.harness import Program
from experiments.peers.torch import (
    affine,
    agree,
    leaves,
    outputs,
    placed,
    stepper,
    tensor,
    torch,
    weights,
)
from jaxlearn.core import FROZEN, Rule

Tree = Mapping[str, Any]


def start(
    rule: Rule,
    program: Program,
    inputs: Any,
    *,
    rate: float,
    decay: float,
    extra: int = 0,
    scale: float = 1.0,
    classes_weight: float = 0.0,
):
    """A step of Adam with weight decay in the gradient; a tree with `first_basis` is BT2's.

    Args:
        rule: ours, to compare embeddings with.
        program: its state and batch.
        inputs: the batch's images as the network sees them.
        rate, decay: learning rate and weight decay; the bases move at half the rate.
        extra, scale, classes_weight: r, C and lambda_2 of BT2.
    """
    t, params = torch(), weights(program.state.params)
    x, labels = placed(inputs).flatten(1), tensor(program.batch["labels"]).long()
    lower, head = params["0"]["Dense_0"], params["1"]
    hidden = lambda: t.relu(affine(lower, x))
    if "first_basis" in head:
        starts = program.state.state[FROZEN]["1"]
        fixed = {name: tensor(part["start"]) for name, part in starts.items()}
        given = {name: tensor(program.batch[name]) for name in ("old", "reference")}
        given["prototypes"] = tensor(program.batch["context"]["prototypes"])
        parts = lambda: _bt2(head, fixed, hidden(), extra, scale)
        loss = lambda: _bt2_loss(parts(), labels, given, classes_weight)
    else:
        parts = lambda: _alone(head, hidden())
        smooth = {"label_smoothing": 0.1}
        loss = lambda: t.nn.functional.cross_entropy(parts()["logits"], labels, **smooth)

    ours: Callable[[], Any] = outputs(rule, program)
    agree(lambda: ours()["embedding"], lambda: parts()["embedding"], "embedding")
    bases = [part["skew"] for name, part in head.items() if name.endswith("basis")]
    others = [leaf for leaf in leaves(params) if not any(leaf is base for base in bases)]
    groups = [{"params": others}, *([{"params": bases, "lr": rate / 2}] if bases else [])]
    return stepper(lambda: [loss()], t.optim.Adam(groups, rate, weight_decay=decay))


def _unit(x: Any) -> Any:
    return torch().nn.functional.normalize(x, dim=-1)


def _alone(head: Tree, x: Any) -> dict[str, Any]:
    phi = _unit(torch().relu(affine(head["embed"], x)))
    return {"embedding": phi, "logits": phi @ head["Dense_0"]["kernel"]}


def _bt2(head: Tree, fixed: Tree, x: Any, extra: int, scale: float) -> dict[str, Any]:
    """`BT2Head`, whose bases are the library's exponentials."""
    t, new = torch(), head["classifier"]["kernel"].shape[0]

    def change(name: str, y: Any) -> Any:
        skew = head[name]["skew"]
        return y @ (fixed[name] @ t.matrix_exp(skew - skew.T)).T

    f = t.relu(affine(head["features"], x))
    u = _unit(f[:, :new])
    a = _unit(_unit(affine(head["other"], f))[:, :extra])
    z = t.cat([a, change("first_basis", scale * u)], 1)
    old = head["second_basis"]["skew"].shape[0]
    q = change("second_basis", z[:, :old])
    logits = u @ head["classifier"]["kernel"]
    return {"embedding": t.cat([q, z[:, old:]], 1), "logits": logits, "u": u, "q": q}


def _bt2_loss(found: Tree, labels: Any, given: Tree, classes_weight: float) -> Any:
    entropy, q = torch().nn.functional.cross_entropy, _unit(found["q"])
    gap = lambda ours, theirs: 1 - (ours * theirs).sum(1).mean()
    loss = entropy(found["logits"], labels)
    loss = loss + classes_weight * entropy(q @ given["prototypes"].T, labels)
    return loss + 5 * gap(q, given["old"]) + gap(found["u"], given["reference"])
