"""A decoder of the OPT family in PyTorch, of which a part of the parameters is trained."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from experiments.harness import Program
from experiments.peers.torch import affine, agree, in_order, outputs, stepper, tensor, torch
from jaxlearn.core import FROZEN, Params, Rule, trees
from jaxlearn.models.opt import OFFSET


def start(
    rule: Rule,
    program: Program,
    merge: Callable[[Any, Any], Params],
    *,
    trained: Callable[[str], bool],
    heads: int,
    rate: float,
):
    """A step of AdamW on the next token, without weight decay.

    Args:
        rule: ours, to compare predictions with.
        program: its state and batch.
        merge: the network's parameters from what is trained and what is frozen.
        trained: which paths of these are trained; PyTorch differentiates with respect to no other.
        heads: of every attention.
        rate: learning rate.
    """
    t, f = torch(), torch().nn.functional
    whole = merge(program.state.params, program.state.state[FROZEN]["own"])
    params = jax.tree.map_with_path(
        lambda keys, leaf: tensor(leaf).requires_grad_(trained(trees.path(keys))), whole
    )
    first, *layers, last = in_order(params)
    tokens, labels = (tensor(program.batch[name]).long() for name in ("inputs", "labels"))

    def norm(p: Any, x: Any) -> Any:
        return f.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], 1e-5)

    def forward() -> Any:
        time = tokens.shape[1]
        x = first["token"][tokens] + first["place"][OFFSET : OFFSET + time]
        for p in (part["layer"] for part in layers):
            x = x + _attention(p["attention"], norm(p["attention_norm"], x), heads)
            hidden = f.relu(affine(p["hidden"], norm(p["ffn_norm"], x)))
            x = x + affine(p["out"], hidden)
        return norm(last["norm"], x) @ last["head"]["kernel"]

    agree(outputs(rule, program), forward, "decoder")
    own = [leaf for leaf in jax.tree.leaves(params) if leaf.requires_grad]
    loss = lambda: f.cross_entropy(forward().flatten(0, 1), labels.flatten())
    return stepper(lambda: [loss()], t.optim.AdamW(own, rate, weight_decay=0.0))


def _attention(p: Mapping[str, Any], x: Any, heads: int) -> Any:
    split = lambda y: y.unflatten(-1, (heads, -1)).transpose(1, 2)
    q, k, v = (split(affine(p[name], x)) for name in ("query", "key", "value"))
    y = torch().nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return affine(p["out"], y.transpose(1, 2).flatten(2))
