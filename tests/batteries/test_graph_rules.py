"""What every rule must do (`test_rules`), for those that learn on the nodes or links of a graph."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import (
    ACTIVITY,
    from_linen,
    make_state,
    make_step,
    microbatch,
    reparametrize,
    trees,
)
from jaxlearn.data.link_split import link_split
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.models.gnn import GCN, GraphLayer, gcn_matrix
from jaxlearn.objectives import link_cross_entropy, link_forward_forward
from jaxlearn.parametrizations import lora
from jaxlearn.rules.forward_forward_graph import label_appending, virtual_node_passes
from jaxlearn.rules.graph_layer import graph_layer
from jaxlearn.rules.single_forward import graph_stage, single_forward, virtual_nodes
from jaxlearn.rules.top_down import top_to_input
from tests.batteries.test_rules import residual, spec
from tests.rules import test_forward_forward_graph as passes
from tests.rules import test_top_down as top_down

TX = optax.sgd(0.1, momentum=0.9)
BLOCK = from_linen(GraphLayer(GCN(8)))


def links_batch():
    """Links of the planted graph and as many that it does not have."""
    graph = planted_graph(24, 3, 12)
    split = link_split(graph, 0)
    context = {"features": graph.features, "matrix": gcn_matrix(*split.known, 24)}
    return {"inputs": split.train[: len(split.train) // 4 * 4], "context": context}


NODES, LINKS = top_down.BATCH, links_batch()
CASES = {
    "single-forward": (single_forward([BLOCK] * 2, virtual_nodes()), NODES),
    "single-forward layer": (graph_stage(BLOCK)[0], NODES),
    "top to input": (top_down.TO_INPUT, NODES),
    "top to loss": (top_down.TO_LOSS, NODES),
    **{
        f"forward-forward, {kind}": (make(BLOCK)[0], passes.batch(kind, passes.LEARNING))
        for kind, make in (("labels", label_appending), ("virtual nodes", virtual_node_passes))
    },
    "links": (graph_layer(BLOCK, link_cross_entropy())[0], LINKS),
    "links, forward-forward": (graph_layer(BLOCK, link_forward_forward())[0], LINKS),
    "links, top to input": (top_to_input([BLOCK] * 2, link_cross_entropy()), LINKS),
}
every = pytest.mark.parametrize("name", CASES)


@cache
def compiled(name):
    """The initial state from a key, and a step."""
    rule, batch = CASES[name]
    return jax.jit(lambda key: make_state(rule, TX, key, batch)), jax.jit(make_step(rule, TX))


def run(name, steps, state=None):
    """The state after some steps, from seed 0 or from a given state."""
    make, step = compiled(name)
    state = make(jax.random.key(0)) if state is None else state
    for _ in range(steps):
        state, _ = step(state, CASES[name][1])
    return state


@every
def test_signal_has_the_structure_of_the_parameters_and_state_keeps_its_own(name):
    (rule, batch), key = CASES[name], jax.random.key(1)
    for variant in (rule, reparametrize(rule, lora(2))):
        params, state = jax.eval_shape(variant.init, key, batch)
        grads, after, metrics = jax.eval_shape(variant.signal, params, state, batch, key)
        assert spec(grads) == spec(params)
        assert spec(after) == spec(state)
        assert metrics["loss"].shape == ()
        unlabelled = {k: v for k, v in batch.items() if k != "labels"}
        outputs, after = jax.eval_shape(variant.predict, params, state, unlabelled)
        assert outputs.shape[0] == len(batch["inputs"])
        assert spec(trees.lasting(after)) == spec(state)


@every
def test_a_stopped_run_continues_bit_for_bit(name):
    straight = run(name, 4)
    saved = jax.tree.map(np.asarray, run(name, 2)._replace(key=None))
    resumed = run(name, 2, saved._replace(key=run(name, 0).key))
    for part in ("params", "state", "opt_state"):
        found, want = getattr(resumed, part), getattr(straight, part)
        jax.tree.map(np.testing.assert_array_equal, found, want)


@every
def test_seeds_can_be_vmapped(name):
    (rule, batch), (make, _) = CASES[name], compiled(name)
    one, two = (make(jax.random.key(seed)) for seed in (0, 1))
    states = jax.tree.map(lambda a, b: jnp.stack([a, b]), one, two)
    states, metrics = jax.jit(jax.vmap(make_step(rule, TX), (0, None)))(states, batch)
    assert metrics["loss"].shape == (2,)
    for seed, start in enumerate((one, two)):
        found = jax.tree.map(lambda leaf, seed=seed: leaf[seed], states.params)
        assert np.abs(residual(found, run(name, 1, start).params)).max() < 1e-4


@every
def test_microbatches_are_the_whole_batch_or_refused(name):
    rule, batch = CASES[name]
    start, split = run(name, 0), microbatch(rule, 2)
    if ACTIVITY in start.state:
        with pytest.raises(ValueError, match='"activity"'):
            jax.eval_shape(make_step(split, TX), start, batch)
        return
    found, _ = jax.jit(make_step(split, TX))(start, batch)
    assert np.abs(residual(found.params, run(name, 1).params)).max() < 1e-4
