"""The forward-forward algorithm on graphs: with appended labels, and with virtual nodes.

Park, Wang, Simoulin, Yang, Yang, Rossi, Trivedi and Ahmed, "Forward learning of graph neural
networks", ICLR 2024 (arXiv 2403.11004), sections 3.1 and 3.2. Every layer learns greedily to be
active where nodes are shown with their true class and quiet where with a wrong one.

All P passes go through a layer together. A batch holds node ids as `"inputs"`; its context comes
from `appended_context` or `virtual_context`, made for training nodes with `training_passes` and
for judged nodes with `judging_passes` (`data.label_passes`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlearn.core import CONTEXT, Batch, Metrics, Model, Params, PyTree, Rule, State
from jaxlearn.data.graphs import Graph, edges
from jaxlearn.data.label_passes import Passes, appended_labels, pass_edges
from jaxlearn.models.gnn import MATRICES, beside
from jaxlearn.models.layers.sparse import interleaved
from jaxlearn.objectives import LayerTask, forward_forward_loss, goodness, weighted_mean
from jaxlearn.rules.graph_layer import Advance, graph_layer


def pass_task(theta: float = 2.0) -> LayerTask:
    """Goodness by pass: `G_p = sum over units of h_p^2` of a node in pass p.

    The loss is `-log sigmoid(G_0 - theta) - mean over p > 0 of log sigmoid(theta - G_p)`. The vote
    for class c is the mean square in pass c minus theta; the mean weighs layers of all widths
    alike, and equal widths make the same choice by sums.
    """

    def rows_of(x: Any, batch: Batch) -> jax.Array:
        count, width = len(batch[CONTEXT]["passes"]), x.rows.shape[-1]
        return x.rows.reshape(-1, count, width)[batch["inputs"]]

    def of_passes(x: Any, batch: Batch, *, mean: bool) -> jax.Array:
        h = rows_of(x, batch)
        return goodness(h.reshape(-1, h.shape[-1]), mean=mean).reshape(h.shape[:2])

    def objective(x: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        found = of_passes(x, batch, mean=False)
        losses = forward_forward_loss(found[:, 0], found[:, 1:].T, theta)
        loss = weighted_mean(losses, batch)
        positive = weighted_mean(found[:, 0], batch)
        negative = weighted_mean(found[:, 1:].mean(1), batch)
        return loss, {"loss": loss, "positive": positive, "negative": negative}

    return LayerTask(objective, lambda x, batch: of_passes(x, batch, mean=True) - theta)


def label_appending(block: Model, *, theta: float = 2.0) -> tuple[Rule, Advance]:
    """FF-LA: one layer that sees the class appended to the features; `(rule, advance)`.

    Every pass hands its own output on to the next layer. The context is `appended_context`.
    """
    return graph_layer(block, pass_task(theta))


def virtual_node_passes(block: Model, *, theta: float = 2.0) -> tuple[Rule, Advance]:
    """FF-VN: one layer that sees the class as an edge to its virtual node; `(rule, advance)`.

    In training the output of the positive pass is the next layer's input in every pass; in judging
    each pass goes on with its own. The context is `virtual_context`.
    """
    rule, every_pass = graph_layer(block, pass_task(theta))

    def advance(params: Params, state: State, context: PyTree) -> PyTree:
        made = every_pass(params, state, context)
        if "deeper" in context:
            return made | {"matrix": context["deeper"]}
        count, rows = len(context["passes"]), made["features"]
        return made | {"features": rows.reshape(-1, count, rows.shape[-1])[:, 0]}

    return rule, advance


def appended_context(
    graph: Graph,
    passes: Passes,
    convolution: str,
    *,
    store: Callable[[np.ndarray], Any] = jnp.asarray,
) -> dict[str, Any]:
    """The graph with the shown classes appended to the features, in all passes.

    Args:
        graph: its features are shared by the passes, so that their product is computed once.
        passes: which classes are shown.
        convolution: a key of `models.gnn.MATRICES`.
        store: how features are kept, `jnp.asarray` or `from_dense`.
    """
    nodes = len(graph.labels)
    labels = jnp.asarray(appended_labels(passes, nodes, len(graph.classes)))
    return {
        "features": beside(store(graph.features), labels),
        "matrix": MATRICES[convolution](*edges(graph), nodes),
        "passes": np.arange(passes.classes.shape[1]),
    }


def virtual_context(
    graph: Graph,
    passes: Passes,
    convolution: str,
    virtual: np.ndarray,
    *,
    judging: bool,
    one_way: bool = False,
    store: Callable[[np.ndarray], Any] = jnp.asarray,
) -> dict[str, Any]:
    """The graph with its virtual nodes, connected anew in every pass.

    Args:
        graph: N nodes, without virtual ones.
        passes: which classes are shown.
        convolution: a key of `models.gnn.MATRICES`.
        virtual: the fixed features of the virtual nodes, `[K, F]`.
        judging: whether layers above the first keep the passes apart.
        one_way: edges from real to virtual nodes alone. No message then tells a real node the class
            it is shown with, so there is nothing for forward-forward to learn: an ablation.
        store: how features are kept, `jnp.asarray` or `from_dense`.
    """
    nodes, count = len(graph.labels) + len(graph.classes), passes.classes.shape[1]
    matrices = [
        MATRICES[convolution](*pass_edges(graph, passes, p, one_way=one_way), nodes)
        for p in range(count)
    ]
    context = {
        "features": store(np.concatenate([graph.features, virtual])),
        "matrix": interleaved(matrices, shared=True),
        "passes": np.arange(count),
    }
    return context | ({"deeper": interleaved(matrices, shared=False)} if judging else {})


def examples() -> dict[str, Rule]:
    """None: it needs a graph."""
    return {}
