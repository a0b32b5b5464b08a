"""What the methods of `experiments/forwardgnn.py` are trained on: batches, layers, scores.

`pose(config, graph, seed)` gives the problem of one row; `config` is the experiment's `Config`.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlearn.core import Batch, Model, from_linen, prepared, stack
from jaxlearn.data.graphs import Graph, edges
from jaxlearn.data.label_passes import Passes, judging_passes, pass_edges, training_passes
from jaxlearn.data.link_split import link_split
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.splits import Split, kfold_split
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes
from jaxlearn.models.gnn import CONVOLUTIONS, MATRICES, GraphLayer, at_nodes, nodes_of, with_graph
from jaxlearn.models.layers.sparse import from_dense
from jaxlearn.objectives import cross_entropy, link_cross_entropy, link_forward_forward
from jaxlearn.objectives.links import ranking
from jaxlearn.procedures.layerwise import Score, Stage
from jaxlearn.rules import LocalModule, backprop, local_learning, virtual_nodes
from jaxlearn.rules.forward_forward_graph import (
    appended_context,
    label_appending,
    virtual_context,
    virtual_node_passes,
)
from jaxlearn.rules.graph_layer import graph_layer
from jaxlearn.rules.single_forward import graph_stage, prototype_task, with_labels
from jaxlearn.rules.top_down import labels_above, top_to_input
from jaxlearn.rules.top_to_loss import top_to_loss


class Problem(NamedTuple):
    """Batches and what learns from them.

    Attributes:
        train: the full batch of every step.
        validation: stops the training and picks the weights.
        test: seen once, at the end.
        stages: by depth, the stages of `procedures.layerwise`.
        greedy: whether the stages of the deepest network hold those of all others.
        score: by example, its mean is what is measured.
        metric: its name, `"accuracy"` or `"auc"`.
    """

    train: Batch
    validation: Batch
    test: Batch
    stages: Callable[[int], list[Stage]]
    greedy: bool
    score: Score
    metric: str = "accuracy"


def pose(config: Any, graph: Graph, seed: int, key: jax.Array) -> Problem:
    """The problem of a method; `key` draws the features of virtual nodes."""
    if config.method.startswith("link"):
        return links(config, graph, seed)
    if config.method.startswith("ff"):
        return forward_forward(config, graph, seed, key)
    return nodes(config, graph, seed, key)


@cache
def optimiser(config: Any, depth: int) -> optax.GradientTransformation:
    """Adam, with the weight decay added to the gradient; by layer behind a clip for Top-To-Loss."""
    adam = optax.adam(config.learning_rate)
    if config.method == "link-ce-top-to-input":
        return adam
    decayed = optax.chain(optax.add_decayed_weights(config.weight_decay), adam)
    if config.method != "sf-top-to-loss":
        return decayed
    names = [str(j) for j in range(depth)]
    clipped = optax.chain(optax.clip_by_global_norm(config.clip), decayed)
    return optax.partition(dict.fromkeys(names, clipped), {name: name for name in names})


def layer(config: Any, width: int, *, relu: bool = True, **options: bool) -> Model:
    """One graph layer as a model."""
    return from_linen(GraphLayer(CONVOLUTIONS[config.convolution](width, **options), relu))


def context(config: Any, graph: Graph) -> dict[str, Any]:
    """Features and the matrix of the convolution, on the device."""
    matrix = MATRICES[config.convolution](*edges(graph), len(graph.labels))
    return jax.device_put({"features": store(config)(graph.features), "matrix": matrix})


def store(config: Any) -> Callable[[np.ndarray], Any]:
    """How features are kept."""
    return from_dense if config.sparse_features else jnp.asarray


def correct(outputs: jax.Array, batch: Batch) -> jax.Array:
    """Where the largest output is that of the label."""
    return outputs.argmax(-1) == batch["labels"]


def unchanged(params: Any, state: Any, context: Any) -> Any:
    """What the last stage hands on."""
    return context


@cache
def backprop_stages(config: Any, depth: int, classes: int) -> list[Stage]:
    """The whole network as the only stage: no input norm, no ReLU behind the last layer."""
    options = {"concat": False} if config.convolution == "gat" else {}
    hidden = [layer(config, config.width) for _ in range(depth - 1)]
    network = stack([*hidden, layer(config, classes, relu=False, **options)])
    return [Stage(prepared(backprop(at_nodes(network), cross_entropy), with_graph), unchanged)]


@cache
def single_forward_stages(config: Any, depth: int) -> list[Stage]:
    """One stage per layer, each with the prototype loss."""
    stage = graph_stage(layer(config, config.width), temperature=config.temperature)
    return [Stage(*stage)] * depth


@cache
def top_down_stages(config: Any, depth: int) -> list[Stage]:
    """All layers as the only stage, with top-down signals."""
    on_links = config.method.startswith("link")
    task = link_cross_entropy() if on_links else prototype_task(virtual_nodes(), config.temperature)
    layers = [layer(config, config.width) for _ in range(depth)]
    if config.method == "sf-top-to-loss":
        rule = top_to_loss(layers, task, unnormalised_start=config.unnormalised_start)
    else:
        rule = top_to_input(layers, task)
    return [Stage(rule, unchanged)]


def nodes(config: Any, graph: Graph, seed: int, key: jax.Array) -> Problem:
    """Backpropagation, single-forward and its top-down variants on the nodes of a split."""
    count, classes = len(graph.labels), len(graph.classes)
    split = kfold_split(count, seed % 5)
    greedy = config.method in ("single-forward", "sf-label-input", "sf-label-all")
    if config.method == "backprop":
        shared = context(config, graph)
        stages = partial(backprop_stages, config, classes=classes)
    else:
        shared = virtual_shared(config, graph, split.train, key)
        stages = partial(single_forward_stages if greedy else top_down_stages, config)
    train, held, test = (node_batch(ids, graph.labels, shared) for ids in split)
    return Problem(train, held, test, stages, greedy, correct)


def virtual_shared(config: Any, graph: Graph, train: np.ndarray, key: jax.Array) -> dict[str, Any]:
    """The graph with virtual nodes on the device, and the labels above the topmost layer."""
    count, classes = len(graph.labels), len(graph.classes)
    whole = augment_with_virtual_nodes(graph, train, key)
    shared = context(config, whole) | {"virtual": jnp.arange(count, count + classes)}
    if config.one_way:
        passes = Passes(train, graph.labels[train][:, None])
        ends = pass_edges(graph, passes, 0, one_way=True)
        shared["matrix"] = jax.device_put(MATRICES[config.convolution](*ends, count + classes))
    known = labels_above(jnp.asarray(graph.labels), jnp.asarray(train), classes)
    if config.method == "sf-top-to-input":
        shared["top"] = known
    if config.method.startswith("sf-label"):
        return with_labels(shared, known, every_layer=config.method == "sf-label-all")
    return shared


def forward_forward(config: Any, graph: Graph, seed: int, key: jax.Array) -> Problem:
    """Forward-forward on nodes, by appended labels or by virtual nodes."""
    labels, classes = graph.labels, len(graph.classes)
    split: Split = kfold_split(len(labels), seed % 5)
    shown = (
        training_passes(labels, split.train, classes, seed),
        judging_passes(labels, split.train, split.validation, classes),
        judging_passes(
            labels, np.concatenate([split.train, split.validation]), split.test, classes
        ),
    )
    kept: dict[str, Any] = {"store": store(config)}
    if config.method == "ff-label-appending":
        made = [appended_context(graph, passes, config.convolution, **kept) for passes in shown]
    else:
        drawn = np.asarray(jax.random.normal(key, (classes, graph.features.shape[1])))
        kept |= {"virtual": drawn, "one_way": config.one_way}
        made = [
            virtual_context(graph, passes, config.convolution, judging=number > 0, **kept)
            for number, passes in enumerate(shown)
        ]
    train, held, test = (
        node_batch(ids, labels, jax.device_put(shared))
        for ids, shared in zip(split, made, strict=True)
    )
    stages = partial(forward_forward_stages, config)
    return Problem(train, held, test, stages, True, correct)


@cache
def forward_forward_stages(config: Any, depth: int) -> list[Stage]:
    """One stage per layer, each with forward-forward's loss over the passes."""
    appended = config.method == "ff-label-appending"
    make = label_appending if appended else virtual_node_passes
    return [Stage(*make(layer(config, config.width), theta=config.theta))] * depth


def links(config: Any, graph: Graph, seed: int) -> Problem:
    """Prediction of links, scored by the area under the ROC curve."""
    split, count = link_split(graph, seed), len(graph.labels)

    def shared(ends: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
        matrix = MATRICES[config.convolution](*ends, count)
        return jax.device_put({"features": store(config)(graph.features), "matrix": matrix})

    def batch(pairs: np.ndarray, context: dict[str, Any]) -> Batch:
        return {"inputs": pairs, "index": np.arange(len(pairs), dtype=np.int32), "context": context}

    known = shared(split.known)
    batches = batch(split.train, known), batch(split.validation, known)
    test = batch(split.test, shared(split.known_at_test))
    greedy = config.method in ("link-ce", "link-ff")
    return Problem(*batches, test, partial(link_stages, config), greedy, ranked, "auc")


def ranked(scores: jax.Array, batch: Batch) -> jax.Array:
    """How far the real edges stand above the made-up ones, by edge."""
    return ranking(scores)


@cache
def link_stages(config: Any, depth: int) -> list[Stage]:
    """The layers of a method for links."""
    forward = config.method == "link-ff"
    task = link_forward_forward(config.theta) if forward else link_cross_entropy()
    if config.method == "link-backprop":
        hidden = [layer(config, config.width) for _ in range(depth - 1)]
        network = stack([*hidden, layer(config, config.width, relu=False)])
        # a single module that nothing is isolated from
        whole = LocalModule(network, task.objective)
        vote = lambda outputs, batch: task.vote(outputs[0], batch)
        return [Stage(local_learning([whole], inputs=nodes_of, combine=vote), unchanged)]
    if config.method == "link-ce-top-to-input":
        return top_down_stages(config, depth)
    return [Stage(*graph_layer(layer(config, config.width), task))] * depth


def measure(problem: Problem, outputs: jax.Array) -> float:
    """The test figure in percent; the area under the curve by scikit-learn."""
    if problem.metric == "accuracy":
        return 100 * float(problem.score(outputs, problem.test).mean())
    from sklearn.metrics import roc_auc_score

    scores = np.asarray(outputs)
    real = np.broadcast_to([1, 0], scores.shape)
    return 100 * float(roc_auc_score(real.ravel(), scores.ravel()))
