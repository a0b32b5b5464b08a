"""One layer of a graph network that learns by itself, for greedy training."""

from collections.abc import Callable

import jax

from jaxlearn.core import CONTEXT, Batch, Key, Model, Params, PyTree, Rule, State, trees
from jaxlearn.models.gnn import nodes_of, norm_nodes
from jaxlearn.objectives import LayerTask
from jaxlearn.rules.local_learning import LocalModule, local_learning

Advance = Callable[[Params, State, PyTree], PyTree]


def graph_layer(block: Model, task: LayerTask) -> tuple[Rule, Advance]:
    """`(rule, advance)` of a layer behind a row normalisation: `procedures.layerwise.Stage`.

    The rule trains the layer by the task on the features in the batch's context and predicts the
    task's vote; `advance(params, state, context)` puts the layer's output in their place.
    """
    inner = normalised(block, norm_nodes)

    def combine(layers: list[PyTree], batch: Batch) -> jax.Array:
        return task.vote(layers[0], batch)

    def advance(params: Params, state: State, context: PyTree) -> PyTree:
        nodes = nodes_of({CONTEXT: context})
        y, _ = inner.apply(params["0"], trees.part(state, "0"), nodes)
        return context | {"features": y.rows}

    rule = local_learning([LocalModule(inner, task.objective)], inputs=nodes_of, combine=combine)
    return rule, advance


def normalised(block: Model, norm: Callable[[PyTree], PyTree]) -> Model:
    """The block behind a row normalisation, `block(x / (||x||_2 + 1e-8))`.

    Without it a layer could read the class from the lengths that the layer before produced.
    """

    def init(key: Key, x: PyTree) -> tuple[Params, State]:
        return block.init(key, norm(x))

    def apply(params: Params, state: State, x: PyTree, *, train: bool = False, key=None):
        return block.apply(params, state, norm(x), train=train, key=key)

    return Model(init, apply)


def examples() -> dict[str, Rule]:
    """None: it needs a graph."""
    return {}
