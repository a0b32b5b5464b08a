"""Forward learning with top-down signals in the loss: layers are judged together with those above.

Park, Wang, Simoulin, Yang, Yang, Rossi, Trivedi and Ahmed, "Forward learning of graph neural
networks", ICLR 2024 (arXiv 2403.11004), section 3.4.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxlearn.core import ACTIVITY, Batch, Key, Model, Params, PyTree, Rule, State, trees
from jaxlearn.models.gnn import Nodes, nodes_of, norm_nodes, row_norm
from jaxlearn.objectives import LayerTask
from jaxlearn.rules.top_down import States, without_activity


def top_to_loss(
    layers: Sequence[Model], task: LayerTask, *, unnormalised_start: bool = False
) -> Rule:
    """Every layer learns by the mean of its output and the states of all layers above.

    With the states `s_j = norm(h_j)` of the step before, all layers at once:
    `h_j = layer_j(s_{j-1})`, `m_j = mean(h_j, s_{j+1}, ..., s_L)`, and layer j learns by
    `task.objective(m_j)`, where the gradient enters `h_j` alone. As in `top_to_input` the states
    are the rule's lasting state and every step is on the same batch. The first states come from a
    pass upwards; a prediction makes that pass anew and adds up the votes of all `m_j`.

    The paper clips the gradient of each layer at norm 1, which is a transform's work:
    `optax.partition({"0": tx, "1": tx}, {"0": "0", "1": "1"})` with
    `tx = optax.chain(optax.clip_by_global_norm(1.0), ...)`.

    Args:
        layers: graph layers of one width, `Nodes -> Nodes`.
        task: what every layer is asked, such as `prototype_task(virtual_nodes())`.
        unnormalised_start: in the pass upwards feed each layer the output of the one below as it
            is, though training feeds it normalised rows: what the released code does.

    Raises:
        ValueError: while tracing, when layers differ in width.
    """
    depth = len(layers)

    def apply(j: int, params: Params, own: State, x: Nodes) -> jax.Array:
        return layers[j].apply(params[str(j)], trees.part(own, str(j)), x)[0].rows

    def upwards(params: Params, own: State, nodes: Nodes) -> States:
        states: States = {}
        x = nodes if unnormalised_start else norm_nodes(nodes)
        for j in range(depth):
            h = apply(j, params, own, x)
            states[str(j)] = row_norm(h)
            x = nodes._replace(rows=h if unnormalised_start else states[str(j)])
        return states

    def init(key: Key, batch: Batch) -> tuple[Params, State]:
        params, own, x = {}, {}, nodes_of(batch)
        for j, layer in enumerate(layers):
            params[str(j)], own[str(j)] = layer.init(jax.random.fold_in(key, j), x)
            x, _ = layer.apply(params[str(j)], own[str(j)], x)
        collections = trees.joined(own)
        return params, collections | {ACTIVITY: upwards(params, collections, nodes_of(batch))}

    def signal(params: Params, state: State, batch: Batch, key: Key):
        del key
        old, own = state[ACTIVITY], without_activity(state)
        bottom, grads, states, metrics = norm_nodes(nodes_of(batch)), {}, {}, {}
        for j in range(depth):
            x = bottom if j == 0 else bottom._replace(rows=old[str(j - 1)])

            def loss_of(layer: Params, j: int = j, x: Nodes = x):
                h = apply(j, params | {str(j): layer}, own, lax.stop_gradient(x))
                loss, found = task.objective(x._replace(rows=_mean(h, old, j)), batch)
                return loss, (found, h)

            grads[str(j)], (found, h) = jax.grad(loss_of, has_aux=True)(params[str(j)])
            metrics |= {f"{name}/{j}": value for name, value in found.items()}
            states[str(j)], grads[str(j)] = lax.optimization_barrier((row_norm(h), grads[str(j)]))
        metrics["loss"] = sum(metrics[f"loss/{j}"] for j in range(depth))
        return grads, own | {ACTIVITY: states}, metrics

    def predict(params: Params, state: State, batch: Batch) -> tuple[PyTree, State]:
        nodes, own = nodes_of(batch), without_activity(state)
        states, x, votes = upwards(params, own, nodes), norm_nodes(nodes), []
        for j in range(depth):
            h = apply(j, params, own, x)
            votes.append(task.vote(nodes._replace(rows=_mean(h, states, j)), batch))
            x = nodes._replace(rows=states[str(j)])
        return jnp.sum(jnp.stack(votes), 0), state

    return Rule(init, signal, predict)


def _mean(h: jax.Array, states: States, j: int) -> jax.Array:
    above = [states[str(m)] for m in range(j + 1, len(states))]
    if widths := {s.shape[-1] for s in above} - {h.shape[-1]}:
        raise ValueError(
            f"layers of top_to_loss need one width; layer {j} has {h.shape[-1]}, others above it "
            f"{sorted(widths)}"
        )
    return jnp.mean(jnp.stack([h, *map(lax.stop_gradient, above)]), 0)


def examples() -> dict[str, Rule]:
    """None: the states belong to the nodes of a graph."""
    return {}
