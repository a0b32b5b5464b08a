"""Forward learning with top-down signals: layers also see what is above them, as it last was.

Park, Wang, Simoulin, Yang, Yang, Rossi, Trivedi and Ahmed, "Forward learning of graph neural
networks", ICLR 2024 (arXiv 2403.11004), section 3.4. All layers learn in the same step, each by a
loss of its own. The representations of the step before are the rule's lasting state, which moves
on by one time step with every training step: batches have to be the same all along, only their
weights and nodes to score may differ.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import (
    ACTIVITY,
    CONTEXT,
    Batch,
    Key,
    Metrics,
    Model,
    Params,
    PyTree,
    Rule,
    State,
    trees,
)
from jaxlearn.models.gnn import Nodes, Rows, beside, nodes_of, row_norm
from jaxlearn.objectives import LayerTask

States = dict[str, jax.Array]
"""The collection `"activity"`: `"0"` to `"L-1"`, what each layer made in the step before."""
Visit = Callable[[int, Nodes], jax.Array]


def top_to_input(
    layers: Sequence[Model],
    task: LayerTask,
    *,
    alternating: bool = True,
    time_steps: int = 10,
    skipped: int = 2,
) -> Rule:
    """Every layer receives the state of the layer above beside that of the layer below.

    `s_j = layer_j([norm(s_{j-1}), norm(s_{j+1})])`, where s_0 are the features and the topmost
    layer receives `context["top"]` (`labels_above`), or nothing if the context has none. Layer j
    learns by `task.objective(s_j)` alone. In a step the odd layers come first, then the even ones,
    all from their neighbours' newest states and with the weights from before the step; without
    `alternating` all use the states of the step before. The first states come from a pass upwards
    with zeros for what is above.

    The prediction starts again with the pass upwards, takes `time_steps` steps and adds up the
    votes of all layers in all steps but the first `skipped`.

    Args:
        layers: graph layers, `Nodes -> Nodes`.
        task: what every layer is asked, such as `prototype_task(virtual_nodes())`.
        alternating: odd layers first.
        time_steps: of a prediction.
        skipped: time steps whose votes do not count.

    Raises:
        ValueError: when no time step is left to vote.
    """
    if not 0 <= skipped < time_steps:
        raise ValueError(f"skipped={skipped} of time_steps={time_steps} leaves no votes")
    depth = len(layers)
    groups = [range(0, depth, 2), range(1, depth, 2)] if alternating else [range(depth)]

    def step(nodes: Nodes, top: Rows | None, states: States, visit: Visit) -> States:
        new: States = {}
        for group in groups:
            known = states | new if alternating else states
            for j in group:
                below = nodes.rows if j == 0 else known[str(j - 1)]
                above = top if j == depth - 1 else known[str(j + 1)]
                new[str(j)] = visit(j, nodes._replace(rows=_between(below, above)))
        return {str(j): new[str(j)] for j in range(depth)}

    def upwards(nodes: Nodes, top: Rows | None, visit: Visit) -> States:
        states: States = {}
        for j in range(depth):
            below = nodes.rows if j == 0 else states[str(j - 1)]
            width = _width(layers[j + 1], nodes) if j < depth - 1 else _columns(top)
            above = jnp.zeros((below.shape[0], width)) if width else None
            states[str(j)] = visit(j, nodes._replace(rows=_between(below, above)))
        return states

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, own = {}, {}

        def visit(j: int, x: Nodes) -> jax.Array:
            params[str(j)], own[str(j)] = layers[j].init(jax.random.fold_in(key, j), x)
            return layers[j].apply(params[str(j)], own[str(j)], x)[0].rows

        states = upwards(nodes_of(batch), _top(batch), visit)
        return params, trees.joined(own) | {ACTIVITY: states}

    def signal(params: Params, state: State, batch: Batch, key: Key):
        del key
        own, grads, metrics = without_activity(state), {}, {}

        def visit(j: int, x: Nodes) -> jax.Array:
            grads[str(j)], found, y = learn(layers[j], params[str(j)], own, j, x, task, batch)
            metrics.update(found)
            y, grads[str(j)] = lax.optimization_barrier((y, grads[str(j)]))
            return y

        states = step(nodes_of(batch), _top(batch), state[ACTIVITY], visit)
        metrics["loss"] = sum(metrics[f"loss/{j}"] for j in range(depth))
        ordered = {name: grads[name] for name in params}
        return ordered, own | {ACTIVITY: states}, metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        nodes, top, own = nodes_of(batch), _top(batch), without_activity(state)

        def visit(j: int, x: Nodes) -> jax.Array:
            return layers[j].apply(params[str(j)], trees.part(own, str(j)), x)[0].rows

        def turn(states: States, number: jax.Array):
            states = step(nodes, top, states, visit)
            votes = [task.vote(nodes._replace(rows=states[str(j)]), batch) for j in range(depth)]
            return states, sum(votes) * (number >= skipped)

        _, votes = lax.scan(turn, upwards(nodes, top, visit), jnp.arange(time_steps))
        return votes.sum(0), state

    return Rule(init, signal, predict)


def learn(
    layer: Model, params: Params, own: State, j: int, x: Nodes, task: LayerTask, batch: Batch
) -> tuple[Params, Metrics, jax.Array]:
    """(gradient, metrics named by layer, output) of the local loss of layer j, for the input x."""

    def loss_of(params: Params):
        y, _ = layer.apply(params, trees.part(own, str(j)), lax.stop_gradient(x), train=True)
        loss, metrics = task.objective(y, batch)
        return loss, (metrics, y.rows)

    grads, (metrics, rows) = jax.grad(loss_of, has_aux=True)(params)
    return grads, {f"{name}/{j}": value for name, value in metrics.items()}, rows


def labels_above(labels: jax.Array, train: jax.Array, classes: int) -> jax.Array:
    """What the topmost layer sees above it: classes, as far as they are known, `[N + K, K]`.

    One-hot for training nodes and for the K virtual nodes behind the N real ones, 1/K for others.

    Example:
        >>> labels_above(jnp.array([1, 0]), jnp.array([0]), 2).tolist()
        [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]
    """
    rows = jnp.full((len(labels), classes), 1 / classes)
    rows = rows.at[train].set(jax.nn.one_hot(jnp.asarray(labels)[train], classes))
    return jnp.concatenate([rows, jnp.eye(classes)])


def _between(below: Any, above: Any) -> Rows:
    return row_norm(below) if above is None else beside(row_norm(below), row_norm(above))


def _top(batch: Batch) -> jax.Array | None:
    return batch[CONTEXT].get("top")


def _columns(top: Rows | None) -> int:
    return 0 if top is None else top.shape[-1]


def without_activity(state: State) -> State:
    """The collections of the layers themselves."""
    return {name: collection for name, collection in state.items() if name != ACTIVITY}


def _width(layer: Model, nodes: Nodes) -> int:
    def output(key: Key) -> jax.Array:
        return layer.apply(*layer.init(key, nodes), nodes)[0].rows

    return jax.eval_shape(output, jax.random.key(0)).shape[-1]


def examples() -> dict[str, Rule]:
    """None: the states belong to the nodes of a graph."""
    return {}
