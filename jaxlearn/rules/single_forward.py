"""Single-forward learning: every layer classifies by its own class prototypes.

Park, Wang, Simoulin, Yang, Yang, Rossi, Trivedi and Ahmed, "Forward learning of graph neural
networks", ICLR 2024 (arXiv 2403.11004), section 3: one virtual row per class goes through the
network with the data, and what a layer makes of it is the prototype of the class in that layer.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxlearn.core import CONTEXT, Batch, Model, Params, PyTree, Rule, State
from jaxlearn.models.gnn import beside, nodes_of, norm_nodes, row_norm
from jaxlearn.objectives import LayerTask, cross_entropy
from jaxlearn.rules.graph_layer import graph_layer, normalised
from jaxlearn.rules.local_learning import LocalModule, local_learning

APPENDED = "appended"
"""Key of a context for what is appended to the features of every layer."""


class Prototypes(NamedTuple):
    """Where the virtual rows come from and where they are found again.

    Attributes:
        enter: `batch -> x`, what enters the first block: examples and virtual rows together.
        read: `(x, batch) -> (h [B, ...], v [K, ...])`, the rows of the batch's examples and of the
            K classes in what a block has made.
        norm: `x -> x`, every row divided by its length.
    """

    enter: Callable[[Batch], PyTree]
    read: Callable[[PyTree, Batch], tuple[jax.Array, jax.Array]]
    norm: Callable[[PyTree], PyTree] = row_norm


def virtual_nodes() -> Prototypes:
    """For nodes of a graph that has its virtual nodes already (`augment_with_virtual_nodes`).

    The batch holds node ids as `"inputs"` and in its context `"features"` `[N + K, F]`, `"matrix"`
    (`models.gnn.Nodes`) and `"virtual"`, the ids of the K virtual nodes in the order of classes.
    """

    def read(x: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return x.rows[batch["inputs"]], x.rows[batch[CONTEXT]["virtual"]]

    return Prototypes(nodes_of, read, norm_nodes)


def virtual_examples(classes: int, *, seed: int = 0) -> Prototypes:
    """For plain data: one N(0, 1) row per class, always the same, behind the rows of the batch."""

    def enter(batch: Batch) -> jax.Array:
        x = batch["inputs"]
        # a key of their own: data drawn from key(seed) must not coincide with the virtual rows
        key = jax.random.fold_in(jax.random.key(seed), classes)
        drawn = jax.random.normal(key, (classes, *x.shape[1:]), x.dtype)
        return jnp.concatenate([x, drawn])

    def read(x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        del batch
        return x[:-classes], x[-classes:]

    return Prototypes(enter, read)


def single_forward(
    blocks: Sequence[Model],
    prototypes: Prototypes,
    *,
    temperature: float = 1.0,
    loop: bool = False,
) -> Rule:
    """Train every block to tell the classes apart by its own prototypes, without negatives.

    With H the rows of the examples and V those of the K classes behind block l,
    `H, V = block_l(x / (||x|| + 1e-8))` row by row, `L_l = CE(H V^T / temperature, labels)`, and
    the signal for block l is the gradient of `L_l`; none passes between blocks. The prediction is
    `sum over l of softmax(H_l V_l^T)`, whose rows sum to the number of blocks.

    The weights of different blocks can be trained together, as this rule does, or one block after
    the other as in the paper (`procedures.layerwise`).

    Args:
        blocks: the layers; each maps all rows, examples and virtual ones, to new rows.
        prototypes: `virtual_nodes()` for graphs, `virtual_examples(K)` for plain data.
        temperature: of the local losses; predictions are made at 1, where the authors' code, whose
            published runs all have temperature 1, divides them too.
        loop: compute equal neighbours in one compiled loop, see `local_learning`.

    Raises:
        ValueError: when the temperature is not positive.

    Example:
        >>> from jaxlearn.models.tiny import tiny_batch, tiny_blocks
        >>> rule = single_forward(tiny_blocks(), virtual_examples(3))
        >>> params, state = jax.jit(rule.init)(jax.random.key(0), tiny_batch())
        >>> jax.jit(rule.predict)(params, state, tiny_batch())[0].sum(-1).round(4)[:3].tolist()
        [2.0, 2.0, 2.0]
    """
    task = prototype_task(prototypes, temperature)

    def combine(layers: list[PyTree], batch: Batch) -> jax.Array:
        return jnp.sum(jnp.stack([task.vote(x, batch) for x in layers]), 0)

    behind = cache(lambda block: normalised(block, prototypes.norm))  # equal blocks stay equal
    modules = [LocalModule(behind(block), task.objective) for block in blocks]
    return local_learning(modules, inputs=prototypes.enter, combine=combine, loop=loop)


def prototype_task(prototypes: Prototypes, temperature: float = 1.0) -> LayerTask:
    """What single-forward asks of every layer: to tell the classes apart by its prototypes.

    The loss is `CE(H V^T / temperature, labels)`, the vote `softmax(H V^T)`.

    Raises:
        ValueError: when the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, found {temperature}")

    def logits(x: PyTree, batch: Batch) -> jax.Array:
        h, v = prototypes.read(x, batch)
        return h.reshape(len(h), -1) @ v.reshape(len(v), -1).T

    def objective(x: PyTree, batch: Batch):
        return cross_entropy(logits(x, batch) / temperature, batch)

    return LayerTask(objective, lambda x, batch: jax.nn.softmax(logits(x, batch)))


def graph_stage(
    block: Model, *, temperature: float = 1.0
) -> tuple[Rule, Callable[[Params, State, PyTree], PyTree]]:
    """One layer of a graph network for greedy training: `(rule, advance)`.

    The rule trains the layer on the features in the batch's context, and
    `advance(params, state, context)` puts the layer's output in their place
    (`procedures.layerwise.Stage`), with the labels beside it if `with_labels` has them seen in
    every layer.
    """
    rule, advance = graph_layer(block, prototype_task(virtual_nodes(), temperature))

    def onwards(params: Params, state: State, context: PyTree) -> PyTree:
        return _beside_labels(advance(params, state, context))

    return rule, onwards


def with_labels(context: PyTree, labels: jax.Array, *, every_layer: bool = False) -> PyTree:
    """Append known labels to the features of the nodes: an option of the authors' code.

    `x_1 = [features, labels]`, and with `every_layer` also `x_l = [h_{l-1}, labels]` for the layers
    above, row-normalised together like any input. The published results do without.

    Args:
        context: features `[N + K, F]` and the graph, virtual nodes included.
        labels: what is known of the classes, `[N + K, K]`: `rules.top_down.labels_above`.
        every_layer: append them to the input of every layer instead of the first one's alone.
    """
    if every_layer:
        return _beside_labels(context | {APPENDED: labels})
    return context | {"features": beside(context["features"], labels)}


def _beside_labels(context: PyTree) -> PyTree:
    if APPENDED not in context:
        return context
    return context | {"features": beside(context["features"], context[APPENDED])}


def examples() -> dict[str, Rule]:
    """Single-forward learning of plain data at toy size."""
    from jaxlearn.models.tiny import CLASSES, tiny_blocks

    return {"single-forward": single_forward(tiny_blocks(), virtual_examples(CLASSES))}
