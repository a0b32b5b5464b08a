"""Graph convolutions in PyTorch Geometric: two layers through backprop, or a layer by itself.

Messages pass through its `GCNConv` over a normalised adjacency in CSR, the faster of the two forms
it has; features are dense, as in its examples.
"""

from importlib import import_module
from typing import Any

import jax
import numpy as np

from experiments.harness import Program
from experiments.peers.torch import agree, leaves, outputs, stepper, tensor, torch, weights
from jaxlearn.core import Rule
from jaxlearn.models.layers.sparse import Sparse, to_dense


def start(rule: Rule, program: Program, *, rate: float, decay: float):
    """A step of Adam for backprop, or for single-forward's layer if the batch is one of its.

    Raises:
        ValueError: when its predictions are not ours.
    """
    t, f, batch = torch(), torch().nn.functional, program.batch
    context, params = batch["context"], weights(program.state.params)
    nodes, labels = tensor(batch["inputs"]).long(), tensor(batch["labels"]).long()
    features, adjacency = _dense(context["features"]), _csr(context["matrix"])
    layers = [_layer(params[name]) for name in sorted(params)]
    single = "virtual" in context
    virtual = tensor(context["virtual"]).long() if single else None

    def logits() -> Any:
        if single:
            length = features.norm(dim=1, keepdim=True)
            y = f.relu(layers[0](features / (length + 1e-8), adjacency))
            return y[nodes] @ y[virtual].T
        hidden = features
        for layer in layers[:-1]:
            hidden = f.relu(layer(hidden, adjacency))
        return layers[-1](hidden, adjacency)[nodes]

    shown = lambda: logits().softmax(1) if single else logits()
    agree(outputs(rule, program), shown, "graph network")
    adam = t.optim.Adam(leaves(params), rate, weight_decay=decay)
    return stepper(lambda: [f.cross_entropy(logits(), labels)], adam)


def _layer(params: Any) -> Any:
    """A `GCNConv` whose weights are these tensors."""
    (own,) = [params[name] for name in params] if "kernel" not in params else (params,)
    kernel, bias = own["kernel"], own["bias"]
    made = import_module("torch_geometric.nn").GCNConv(*kernel.shape, normalize=False)
    parameter = torch().nn.Parameter
    # the leaves of the tree are what the optimizer holds, so the layer gets exactly those
    own["kernel"], own["bias"] = parameter(kernel.detach().T.contiguous()), parameter(bias.detach())
    made.lin.weight, made.bias = own["kernel"], own["bias"]
    return made


def _dense(features: Any) -> Any:
    return tensor(to_dense(features) if isinstance(features, Sparse) else features)


def _csr(matrix: Sparse) -> Any:
    """The matrix without its padding; each node adds up what comes from its neighbours."""
    pattern = jax.tree.map(np.asarray, matrix.pattern)
    entries = int(pattern.indptr[-1])
    return torch().sparse_csr_tensor(
        tensor(pattern.indptr).long(),
        tensor(pattern.indices[:entries]).long(),
        tensor(np.asarray(matrix.values)[:entries]),
        size=matrix.shape,
        check_invariants=True,
    )
