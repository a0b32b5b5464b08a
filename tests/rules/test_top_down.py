"""Top-down signals: which states a layer sees, what a prediction adds up, and the identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import from_linen, microbatch
from jaxlearn.data.graphs import edges
from jaxlearn.data.link_split import link_split
from jaxlearn.data.node_batches import node_batch
from jaxlearn.data.planted_graph import planted_graph
from jaxlearn.data.virtual_nodes import augment_with_virtual_nodes
from jaxlearn.models.gnn import CONVOLUTIONS, GCN, MATRICES, GraphLayer, Nodes
from jaxlearn.objectives import link_cross_entropy
from jaxlearn.rules.single_forward import prototype_task, single_forward, virtual_nodes
from jaxlearn.rules.top_down import labels_above, top_to_input
from jaxlearn.rules.top_to_loss import top_to_loss

NODES, CLASSES, WIDTH, DEPTH = 24, 3, 8, 3
TRAIN, KEY = np.arange(0, NODES, 2), jax.random.key(0)
TASK = prototype_task(virtual_nodes())


def layers(depth: int = DEPTH, width: int = WIDTH):
    return [from_linen(GraphLayer(GCN(width))) for _ in range(depth)]


def nodes_batch(ids=TRAIN, convolution="gcn"):
    graph = planted_graph(NODES, CLASSES, 12)
    whole = augment_with_virtual_nodes(graph, TRAIN, KEY)
    context = {
        "features": jnp.asarray(whole.features),
        "matrix": MATRICES[convolution](*edges(whole), NODES + CLASSES),
        "virtual": np.arange(NODES, NODES + CLASSES),
        "top": labels_above(jnp.asarray(graph.labels), TRAIN, CLASSES),
    }
    return node_batch(ids, graph.labels, context)


BATCH = nodes_batch()
FEATURES, MATRIX, TOP = (BATCH["context"][name] for name in ("features", "matrix", "top"))
TO_INPUT = top_to_input(layers(), TASK)
TO_LOSS = top_to_loss(layers(), TASK)
BOTH = pytest.mark.parametrize("rule", [TO_INPUT, TO_LOSS], ids=["input", "loss"])
JITTED = {id(rule): jax.jit(rule.signal) for rule in (TO_INPUT, TO_LOSS)}


def norm(x):
    return x / (jnp.linalg.norm(x, axis=1, keepdims=True) + 1e-8)


def apply(params, j, rows):
    """Layer j by itself, on dense rows."""
    return layers(1)[0].apply(params[str(j)], {}, Nodes(rows, MATRIX))[0].rows


def seen(below, above):
    return jnp.concatenate([norm(below), norm(above)], 1)


def loss(rows):
    return TASK.objective(Nodes(rows, MATRIX), BATCH)[0]


def vote(rows):
    return TASK.vote(Nodes(rows, MATRIX), BATCH)


@BOTH
def test_identity_1_a_layer_learns_by_its_own_loss_at_fixed_inputs_alone(rule):
    params, state = jax.jit(rule.init)(KEY, BATCH)
    found, new, _ = JITTED[id(rule)](params, state, BATCH, KEY)

    @jax.jit
    def slopes(params, state, new):
        old, now = ([s["activity"][str(j)] for j in range(DEPTH)] for s in (state, new))
        want = {}
        for j in range(DEPTH):
            if rule is TO_LOSS:
                rows = norm(FEATURES) if j == 0 else old[j - 1]
                judged = lambda h, j=j: jnp.mean(jnp.stack([h, *old[j + 1 :]]), 0)
            else:
                # layers 1 and 3 come first, layer 2 sees what they have just made
                below, above = [(FEATURES, old[1]), (now[0], now[2]), (old[1], TOP)][j]
                rows = seen(below, above)
                judged = lambda h: h
            own_loss = lambda own, j=j, rows=rows, judged=judged: loss(
                judged(apply(params | {str(j): own}, j, rows))
            )
            want[str(j)] = jax.grad(own_loss)(params[str(j)])
        return want

    want = jax.tree.map(np.asarray, slopes(params, state, new))
    for name, leaves in want.items():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found[name], leaves)
        assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(leaves))


def test_identity_7_without_weights_on_what_is_above_it_is_single_forward():
    params, state = jax.jit(TO_INPUT.init)(KEY, BATCH)
    widths = [12, WIDTH, WIDTH]
    cut = lambda kernel, width: kernel.at[width:].set(0)
    params = {
        j: {
            "convolution": layer["convolution"] | {"kernel": cut(layer["convolution"]["kernel"], w)}
        }
        for (j, layer), w in zip(params.items(), widths, strict=True)
    }
    below = lambda layer, w: {
        "convolution": layer["convolution"] | {"kernel": layer["convolution"]["kernel"][:w]}
    }
    plain = {j: below(layer, w) for (j, layer), w in zip(params.items(), widths, strict=True)}
    sf = single_forward(layers(), virtual_nodes())
    want, _, metrics = jax.jit(sf.signal)(plain, {}, BATCH, KEY)
    step = JITTED[id(TO_INPUT)]
    for _ in range(DEPTH):  # until the input has passed through all layers
        found, state, own = step(params, state, BATCH, KEY)
    for j in range(DEPTH):
        np.testing.assert_allclose(own[f"loss/{j}"], metrics[f"loss/{j}"], rtol=1e-5)
    kept = {j: below(layer, w) for (j, layer), w in zip(found.items(), widths, strict=True)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), kept, want)


def test_identity_7_the_topmost_layer_of_top_to_loss_has_the_loss_of_single_forward():
    params, state = jax.jit(TO_LOSS.init)(KEY, BATCH)
    sf = single_forward(layers(), virtual_nodes())
    _, _, want = jax.jit(sf.signal)(params, {}, BATCH, KEY)
    _, _, found = JITTED[id(TO_LOSS)](params, state, BATCH, KEY)
    top = f"loss/{DEPTH - 1}"
    np.testing.assert_allclose(found[top], want[top], rtol=1e-5)
    assert abs(found["loss/0"] - want["loss/0"]) > 1e-4


def test_top_to_input_starts_from_a_pass_upwards_with_zeros_above():
    params, state = jax.jit(TO_INPUT.init)(KEY, BATCH)
    below = FEATURES
    for j, above in enumerate((WIDTH, WIDTH, CLASSES)):
        below = apply(params, j, seen(below, jnp.zeros((len(below), above))))
        np.testing.assert_allclose(state["activity"][str(j)], below, atol=1e-6)


@pytest.mark.parametrize("alternating", [True, False])
def test_a_step_uses_the_newest_states_of_the_neighbours(alternating):
    rule = TO_INPUT if alternating else top_to_input(layers(), TASK, alternating=False)
    params, _ = rule.init(KEY, BATCH)
    draws = jax.random.normal(jax.random.key(5), (DEPTH, NODES + CLASSES, WIDTH))
    old = {str(j): draws[j] for j in range(DEPTH)}
    first = apply(params, 0, seen(FEATURES, old["1"]))
    third = apply(params, 2, seen(old["1"], TOP))
    around = (first, third) if alternating else (old["0"], old["2"])
    second = apply(params, 1, seen(*around))
    _, new, metrics = rule.signal(params, {"activity": old}, BATCH, KEY)
    for j, want in enumerate((first, second, third)):
        # what the layer made with the weights from before the step
        np.testing.assert_allclose(new["activity"][str(j)], want, atol=1e-5)
        np.testing.assert_allclose(metrics[f"loss/{j}"], loss(want), rtol=1e-5)


def test_top_to_input_votes_in_every_time_step_but_the_skipped():
    rule = top_to_input(layers(2), TASK, time_steps=3, skipped=1)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    s0, s1 = (state["activity"][j] for j in ("0", "1"))
    want = 0
    for t in range(3):
        s0 = apply(params, 0, seen(FEATURES, s1))
        s1 = apply(params, 1, seen(s0, TOP))
        want = want + (vote(s0) + vote(s1) if t >= 1 else 0)
    moved = jax.tree.map(lambda leaf: leaf + 1, state)  # a prediction starts from its own states
    found, kept = jax.jit(rule.predict)(params, moved, BATCH)
    np.testing.assert_allclose(found, want, atol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 2 * 2, rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, kept, moved)


def test_a_step_of_top_to_loss_is_synchronous():
    params, _ = TO_LOSS.init(KEY, BATCH)
    draws = jax.random.normal(jax.random.key(5), (DEPTH, NODES + CLASSES, WIDTH))
    old = {str(j): draws[j] for j in range(DEPTH)}
    _, new, metrics = JITTED[id(TO_LOSS)](params, {"activity": old}, BATCH, KEY)
    below = [norm(FEATURES), old["0"], old["1"]]
    for j in range(DEPTH):
        h = apply(params, j, below[j])
        np.testing.assert_allclose(new["activity"][str(j)], norm(h), atol=1e-5)
        mean = jnp.mean(jnp.stack([h, *draws[j + 1 :]]), 0)
        np.testing.assert_allclose(metrics[f"loss/{j}"], loss(mean), rtol=1e-5)


@pytest.mark.parametrize("unnormalised", [False, True])
def test_top_to_loss_predicts_from_a_pass_upwards(unnormalised):
    rule = top_to_loss(layers(2), TASK, unnormalised_start=unnormalised)
    params, state = jax.jit(rule.init)(KEY, BATCH)
    chained = apply(params, 0, FEATURES if unnormalised else norm(FEATURES))
    first = norm(chained)
    second = norm(apply(params, 1, chained if unnormalised else first))
    np.testing.assert_allclose(state["activity"]["1"], second, atol=1e-5)
    # the released code hands on unnormalised rows in that pass, but judges from normalised states
    low, high = apply(params, 0, norm(FEATURES)), apply(params, 1, first)
    want = vote((low + second) / 2) + vote(high)
    np.testing.assert_allclose(rule.predict(params, state, BATCH)[0], want, atol=1e-5)


@pytest.mark.parametrize("convolution", ["sage", "gat"])
@pytest.mark.parametrize("make", [top_to_input, top_to_loss])
def test_other_convolutions_learn_with_top_down_signals(make, convolution):
    layer = from_linen(GraphLayer(CONVOLUTIONS[convolution](WIDTH)))
    rule, batch = make([layer] * 2, TASK), nodes_batch(convolution=convolution)
    params, state = jax.jit(rule.init)(KEY, batch)
    signal, losses = jax.jit(rule.signal), []
    for number in range(20):
        grads, after, metrics = signal(params, state, batch, KEY)
        if number == 0:
            above = state["activity"]["1"]
            rows = seen(FEATURES, above) if make is top_to_input else norm(FEATURES)
            alone = Nodes(rows, batch["context"]["matrix"])
            want = layer.apply(params["0"], {}, alone)[0].rows
            want = want if make is top_to_input else norm(want)
            np.testing.assert_allclose(after["activity"]["0"], want, atol=1e-5)
        params, state = jax.tree.map(lambda w, g: w - 0.1 * g, params, grads), after
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    votes, _ = jax.jit(rule.predict)(params, state, batch)
    assert bool(jnp.isfinite(votes).all())


def test_links_are_learnt_with_nothing_above_the_topmost_layer():
    graph = planted_graph(NODES, CLASSES, 12)
    split = link_split(graph, 0)
    context = {"features": graph.features, "matrix": MATRICES["gcn"](*split.known, NODES)}
    batch = {"inputs": split.train, "context": context}
    rule = top_to_input(layers(2), link_cross_entropy())
    params, state = rule.init(KEY, batch)
    shapes = [layer["convolution"]["kernel"].shape for layer in params.values()]
    assert shapes == [(12 + WIDTH, WIDTH), (WIDTH, WIDTH)]
    grads, after, _ = jax.jit(rule.signal)(params, state, batch, KEY)
    assert jax.tree.map(jnp.shape, (grads, after)) == jax.tree.map(jnp.shape, (params, state))
    votes, _ = jax.jit(rule.predict)(params, state, batch)
    assert votes.shape == (len(split.train), 2)
    assert float(votes.max()) <= 2 * 8  # a probability per layer and time step


@BOTH
def test_parts_of_a_batch_are_refused_as_each_would_be_a_time_step_of_its_own(rule):
    params, state = jax.eval_shape(rule.init, KEY, BATCH)
    with pytest.raises(ValueError, match='n=2 would move the "activity" of the layers'):
        jax.eval_shape(microbatch(rule, 2).signal, params, state, BATCH, KEY)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="skipped=3 of time_steps=3 leaves no votes"):
        top_to_input(layers(), TASK, time_steps=3, skipped=3)
    uneven = top_to_loss([*layers(1), *layers(1, width=5)], TASK)
    params, state = uneven.init(KEY, BATCH)
    with pytest.raises(ValueError, match=r"need one width; layer 0 has 8, others above it \[5\]"):
        uneven.signal(params, state, BATCH, KEY)
