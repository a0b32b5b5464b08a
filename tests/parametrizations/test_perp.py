"""PERP: the identities of the retrained subsets and of the low-rank forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import FROZEN, TrainState, from_linen, make_step, reparametrize, stack, trees
from jaxlearn.models.layers.conv import Conv
from jaxlearn.models.opt import opt_blocks
from jaxlearn.objectives.next_token import next_token
from jaxlearn.parametrizations import Roles, lora, retrain, sparse_lora
from jaxlearn.parametrizations.sparse_lora import effective, factors, merged
from jaxlearn.procedures.pruning import magnitude, prune, unstructured
from jaxlearn.rules import backprop
from tests.drawn import variables

KEY = jax.random.key(0)
D, F, LAYERS, RANK = 8, 12, 1, 4
MODEL = stack(opt_blocks(11, LAYERS, D, longest=6, heads=2, hidden=F))
PRUNED = lambda path: path.endswith("kernel") and "head" not in path
ROLES = Roles(PRUNED)
TOKENS = np.random.default_rng(0).integers(0, 11, (4, 7)).astype(np.int32)
BATCH = {"inputs": TOKENS[:, :-1], "labels": TOKENS[:, 1:], "index": np.arange(4)}
WAYS = [
    ("lora",),
    ("lora_prune",),
    ("scale_lora",),
    ("full",),
    ("biases", "norms", "head_lora", "mask_lora"),
]
OTHERS = [("biases",), ("norms",), ("head",), ("head_lora",), ("mask_lora",)]
every_way = pytest.mark.parametrize(
    "way", [*WAYS, *(pytest.param(way, marks=pytest.mark.slow) for way in OTHERS)], ids="+".join
)


def pruned_network(sparsity=0.5):
    params, _ = variables(MODEL, BATCH["inputs"])
    cut = jax.jit(lambda params: prune(magnitude(unstructured(sparsity)), params, PRUNED, KEY))
    return cut(params)


NETWORK = pruned_network()
LOGITS = jax.jit(lambda params: MODEL.apply(params, {}, BATCH["inputs"])[0])


def trained(way, steps=3, rank=RANK, network=NETWORK):
    """What training leaves: theta at the start and the end, frozen, and the whole state."""
    ways = retrain(way, ROLES, rank=rank, alpha=2.0 * rank)
    rule = reparametrize(backprop(MODEL, next_token()), ways.parametrization)
    tx = optax.adam(1e-2)
    theta, frozen = jax.jit(ways.parametrization.init)(KEY, network)
    collections = {FROZEN: {"own": frozen, "inner": {}}}
    state = TrainState(jnp.int32(0), theta, collections, jax.jit(tx.init)(theta), KEY)
    step = jax.jit(make_step(rule, tx))
    for _ in range(steps):
        state, _ = step(state, BATCH)
    return ways, theta, frozen, state


@every_way
def test_identity_1_before_any_step_logits_are_those_of_the_pruned_network(way):
    ways = retrain(way, ROLES, rank=RANK).parametrization
    made = jax.jit(ways.materialize)(*jax.jit(ways.init)(KEY, NETWORK))
    np.testing.assert_array_equal(LOGITS(made), LOGITS(NETWORK))


def test_identity_1_scale_lora_of_a_rank_that_is_no_power_of_four():
    ways = retrain(["scale_lora"], ROLES, rank=3).parametrization
    made = jax.jit(ways.materialize)(*jax.jit(ways.init)(KEY, NETWORK))
    np.testing.assert_allclose(LOGITS(made), LOGITS(NETWORK), rtol=1e-5, atol=1e-6)


@every_way
def test_identity_2_merging_keeps_the_zeros_and_the_function(way):
    ways, theta, frozen, state = trained(way)
    assert any(
        np.any(a != b)
        for a, b in zip(jax.tree.leaves(theta), jax.tree.leaves(state.params), strict=True)
    )
    made = jax.tree.map(np.asarray, jax.jit(ways.merge)(state.params, frozen))
    trained_as = LOGITS(jax.jit(ways.parametrization.materialize)(state.params, frozen))
    zeros, refilled = 0, 0
    for (keys, new), old in zip(
        jax.tree.leaves_with_path(made),
        jax.tree.leaves(jax.tree.map(np.asarray, NETWORK)),
        strict=True,
    ):
        if PRUNED(trees.path(keys)):
            zeros += int((old == 0).sum())
            refilled += int(((old == 0) & (new != 0)).sum())
    assert zeros > 150
    if "lora" in way:
        assert refilled > 0.9 * zeros  # which is why it cannot be merged
    else:
        assert refilled == 0
    if "lora_prune" in way:
        assert np.abs(LOGITS(made) - trained_as).max() > 1e-3
    else:
        np.testing.assert_allclose(LOGITS(made), trained_as, rtol=1e-5, atol=1e-5)


def slopes(form):
    """Gradients by autodiff, and dL/dW_eff, for a quadratic loss of one pruned matrix."""
    draw = np.random.default_rng(0)
    sizes = ((6, 5), (6, 3), (3, 5), (7, 6), (7, 5))
    weight, a, b, x, y = (draw.normal(size=size).astype(np.float32) for size in sizes)
    weight, pair = np.where(np.abs(weight) > 0.5, weight, 0), {"a": a, "b": b}
    loss = lambda w: jnp.sum((x @ w - y) ** 2)

    @jax.jit
    def both(pair):
        found = jax.grad(lambda pair: loss(effective(form, weight, pair, 0.7)))(pair)
        return found, jax.grad(loss)(effective(form, weight, pair, 0.7))

    return weight, pair, *jax.tree.map(np.asarray, both(pair))


def test_identity_3_gradient_of_the_factors_of_mask_lora():
    weight, pair, found, dense = slopes("mask_lora")
    masked = dense * (weight != 0)
    np.testing.assert_allclose(found["b"], 0.7 * pair["a"].T @ masked, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["a"], 0.7 * masked @ pair["b"].T, rtol=1e-5, atol=1e-5)


def test_identity_3_gradient_of_the_factors_of_scale_lora():
    weight, pair, found, dense = slopes("scale_lora")
    np.testing.assert_allclose(found["b"], pair["a"].T @ (dense * weight), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["a"], (dense * weight) @ pair["b"].T, rtol=1e-5, atol=1e-4)


def test_identity_4_without_zeros_mask_lora_is_lora():
    weight = 1 + jax.random.uniform(KEY, (6, 5))
    pair = factors("lora", KEY, weight, 2) | {"b": jax.random.normal(KEY, (2, 5))}
    plain = lora(2, 6.0).materialize({"w": pair}, {"w": weight})["w"]
    for form in ("mask_lora", "lora", "lora_prune"):
        np.testing.assert_array_equal(effective(form, weight, pair, 3.0), plain)


COUNTS = {
    ("biases",): LAYERS * (4 * D + F + D + 2 * D) + D,
    ("norms",): (2 * LAYERS + 1) * 2 * D,
    ("mask_lora",): LAYERS * RANK * (4 * 2 * D + 2 * (D + F)),
    # the shifts of the norms are biases too, and count once
    ("biases", "norms"): LAYERS * (4 * D + F + D + 4 * D) + 2 * D,
    ("head",): 11 * D,
    ("head_lora",): RANK * (11 + D),
}


@pytest.mark.parametrize("way", COUNTS, ids="+".join)
def test_identity_4_only_the_subset_is_trained_and_in_the_optimizer(way):
    ways = retrain(way, ROLES, rank=RANK)
    theta, _ = jax.eval_shape(ways.parametrization.init, KEY, NETWORK)
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert size(theta) == COUNTS[way]
    assert size(jax.eval_shape(optax.adam(1e-3).init, theta)) == 2 * COUNTS[way] + 1
    logits = lambda theta: LOGITS(ways.parametrization.materialize(theta, NETWORK))
    grads = jax.eval_shape(jax.grad(lambda theta: logits(theta).sum()), theta)
    assert jax.tree.structure(grads) == jax.tree.structure(theta)


def test_identity_4_counts_of_opt_2_7b():
    """The published fractions: norms 332,800, biases 903,680, MaskLoRA at r = 16 23,592,960."""
    first, block, last = opt_blocks(50272, 1, 2560, longest=2048, heads=32)
    x = jax.ShapeDtypeStruct((1, 4, 2560), jnp.float32)
    inner, outer = (jax.eval_shape(part.init, KEY, x)[0] for part in (block, last))
    network = {"0": jax.eval_shape(first.init, KEY, BATCH["inputs"])[0]}
    network |= {str(i): inner for i in range(1, 33)} | {"33": outer}
    found = {}
    for name in ("norms", "biases", "mask_lora"):
        make = retrain([name], ROLES, rank=16).parametrization.init
        theta, _ = jax.eval_shape(make, KEY, network)
        found[name] = sum(leaf.size for leaf in jax.tree.leaves(theta))
    assert found == {"norms": 332_800, "biases": 903_680, "mask_lora": 23_592_960}


def test_identity_5_the_components_of_scale_lora_stay_equal():
    _, before, _, state = trained(["scale_lora"], steps=5)
    for path, pair in state.params["updates"].items():
        assert np.abs(pair["b"] - before["updates"][path]["b"]).max() > 1e-3
        spread = np.abs(pair["b"] - pair["b"][:1]).max(), np.abs(pair["a"] - pair["a"][:, :1]).max()
        assert max(spread) < 1e-6, path


def test_bytes_of_the_trained_part_and_its_optimizer_follow_the_counts():
    """Compiled: what a step takes and gives besides frozen weights is in proportion to theta."""
    tx = optax.adam(1e-3)

    def compiled(way):
        ways = retrain(way, ROLES, rank=RANK).parametrization
        theta, frozen = jax.eval_shape(ways.init, KEY, NETWORK)

        def step(theta, opt_state, frozen):
            loss = lambda theta: jnp.mean(
                MODEL.apply(ways.materialize(theta, frozen), {}, BATCH["inputs"])[0] ** 2
            )
            updates, opt_state = tx.update(jax.grad(loss)(theta), opt_state)
            return optax.apply_updates(theta, updates), opt_state

        made = jax.jit(step).lower(theta, jax.eval_shape(tx.init, theta), frozen).compile()
        return made.memory_analysis().output_size_in_bytes

    for way in (("biases",), ("mask_lora",)):
        # theta and two moments in float32, the count, and a pointer for every array
        pointers = 8 * (3 * 100 + 1)
        assert 12 * COUNTS[way] <= compiled(way) <= 12 * COUNTS[way] + pointers
    whole = sum(leaf.size for leaf in jax.tree.leaves(NETWORK))
    assert compiled(["full"]) >= 12 * whole


def test_a_network_of_half_precision_keeps_it_and_trains_in_float32():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), NETWORK)
    ways = retrain(["biases", "mask_lora"], ROLES, rank=RANK).parametrization
    theta, frozen = jax.eval_shape(ways.init, KEY, half)
    assert {leaf.dtype for leaf in jax.tree.leaves(theta)} == {jnp.dtype("float32")}
    made = jax.eval_shape(ways.materialize, theta, frozen)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype("bfloat16")}


def test_filters_are_matrices_of_all_they_see():
    model = from_linen(Conv(4, 3, bias=False))
    params, _ = model.init(KEY, jnp.ones((1, 5, 5, 2)))
    pair = sparse_lora("mask_lora", 2).init(KEY, params)[0]["kernel"]
    assert (pair["a"].shape, pair["b"].shape) == ((18, 2), (2, 4))
    weight = params["kernel"].at[0].set(0)
    pair = pair | {"b": jnp.ones((2, 4))}
    matrix = weight.reshape(18, 4)
    want = matrix + 0.5 * (pair["a"] @ pair["b"]) * (matrix != 0)
    np.testing.assert_allclose(merged("mask_lora", weight, pair, 0.5).reshape(18, 4), want, 1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: retrain(["bias"], ROLES), r"subsets \['bias'\] are none of"),
        (lambda: retrain(["lora", "mask_lora"], ROLES), "train some weights twice"),
        (lambda: retrain(["full", "biases"], ROLES), "train some weights twice"),
        (lambda: retrain(["head", "head_lora"], ROLES), "train the head twice"),
        (lambda: retrain(["mask_lora"], ROLES, rank=0), "rank must be at least 1"),
        (lambda: sparse_lora("dora", 2), "is none of"),
        (lambda: sparse_lora("lora", 0), "rank must be at least 1"),
        (lambda: sparse_lora("lora", 1).init(KEY, {"b": jnp.ones(2)}), "adapts no parameter"),
        (
            # Llama has no biases: nothing may be reported as a gain of theirs
            lambda: retrain(["biases"], ROLES).parametrization.init(
                KEY, {"kernel": jnp.ones((2, 2))}
            ),
            r"no parameter of the subsets \['biases'\]",
        ),
    ],
)
def test_wrong_use_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_no_subset_trains_nothing():
    ways = retrain((), ROLES)
    theta, frozen = ways.parametrization.init(KEY, NETWORK)
    assert not jax.tree.leaves(theta)
    jax.tree.map(np.testing.assert_array_equal, ways.merge(theta, frozen), NETWORK)
