"""The identities of AugLocal, each against an oracle that does not use the engine."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxlearn.core import from_linen, make_state, make_step, stack
from jaxlearn.models.cifar_resnet import cifar_resnet, layer_widths
from jaxlearn.models.cifar_resnet import classifier as pooled_classifier
from jaxlearn.models.heads.copied_blocks import copied_blocks_head, head_plan
from jaxlearn.models.layers.batch_norm import BatchNorm
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules.auglocal import (
    auglocal,
    consecutive_selection,
    pyramid,
    repeated_selection,
    uniform_selection,
)
from jaxlearn.rules.backprop import backprop
from jaxlearn.rules.local_learning import Auxiliary, LocalModule, layer_by_layer, local_learning

CLASSES, L, DEPTH = 3, 4, 1
K = L - DEPTH
KEY = jax.random.key(3)


class Layer(linen.Module):
    """`relu(BN(x W))`: what identities about gradients need, and cheap to compile."""

    width: int

    @linen.compact
    def __call__(self, x, train: bool = False):
        return linen.relu(BatchNorm()(linen.Dense(self.width)(x), train))


def layers():
    return [from_linen(Layer(width)) for width in (6, 6, 7, 8)]


def classifier():
    return from_linen(linen.Dense(CLASSES))


def dense_head(layer, selected):
    return stack([*(layers()[j] for j in selected), classifier()])


def rule_of(depth, **options):
    return auglocal(layers(), classifier(), depth, dense_head, **options)


@pytest.fixture(scope="module")
def batch():
    key = jax.random.key(0)
    inputs = jax.random.normal(key, (16, 5))
    labels = jax.random.randint(key, (16,), 0, CLASSES)
    return {"inputs": inputs, "labels": labels, "index": jnp.arange(16, dtype=jnp.int32)}


@pytest.fixture(scope="module")
def started(batch):
    return jax.jit(rule_of(DEPTH).init)(jax.random.key(1), batch)


@pytest.fixture(scope="module")
def signalled(started, batch):
    return jax.jit(rule_of(DEPTH).signal)(*started, batch, KEY)


def close(a, b, rtol):
    """Relative to the largest entry: a ReLU at zero may move single small entries."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=rtol * float(jnp.abs(y).max() + 1e-3))


def all_zero(tree):
    return not any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(tree))


def local_loss(i, params, state, batch):
    """L_i of `rule_of(DEPTH)` as a function of all parameters, without the engine."""
    x = batch["inputs"]
    net = layers()
    depths = pyramid(L, DEPTH)
    stats = state["batch_stats"]
    for j in range(min(i + 1, len(depths))):
        own = {"batch_stats": stats[str(j)]}
        x = jax.lax.stop_gradient(x)
        x, _ = net[j].apply(params[str(j)], own, x, train=True)
    if i < len(depths):
        head = dense_head(i, uniform_selection(i, L, depths[i]))
        own = {"batch_stats": stats["heads"][str(i)]}
        out, _ = head.apply(params["heads"][str(i)], own, x, train=True)
    else:
        rest = stack([*net[len(depths) :], classifier()])
        own = {"batch_stats": stats[str(i)]}
        out, _ = rest.apply(params[str(i)], own, jax.lax.stop_gradient(x), train=True)
    return cross_entropy(out, batch)[0]


def test_identity_1_no_gradient_crosses_modules(started, batch, signalled):
    params, state = started
    every = jax.jit(lambda p: [jax.grad(local_loss, 1)(i, p, state, batch) for i in range(K)])
    for i, grads in enumerate(jax.tree.map(np.asarray, every(params))):
        for j in range(K):
            parts = grads[str(j)], grads["heads"].get(str(j), {})
            assert all_zero(parts) == (i != j), (i, j)
        mine = grads[str(i)], grads["heads"].get(str(i), {})
        found = signalled[0][str(i)], signalled[0]["heads"].get(str(i), {})
        close(found, mine, 1e-4)


PUBLISHED_DEPTHS = [
    (16, 3, [3] * 6 + [2] * 6),
    (16, 5, [5, 5, 5, 4, 4, 4, 4, 3, 3, 3]),
    (55, 6, None),
    (55, 2, [2] * 52),
]


@pytest.mark.parametrize(("count", "depth", "expected"), PUBLISHED_DEPTHS)
def test_identity_2_pyramid_fixtures(count, depth, expected):
    expected = [6] * 10 + [5] * 19 + [4] * 19 if expected is None else expected
    found = pyramid(count, depth)
    if (count, depth) == (55, 6):
        assert {d: found.count(d) for d in (6, 5, 4)} == {6: 10, 5: 19, 4: 19}
    assert len(found) == count - depth - 1
    assert found == expected


SELECTIONS = [
    (0, 2, 16, [8, 15]),
    (0, 3, 16, [5, 10, 15]),
    (0, 5, 16, [3, 6, 9, 12, 15]),
    (3, 3, 16, [7, 11, 15]),
    (8, 5, 16, [9, 11, 12, 14, 15]),
    (12, 5, 16, [13, 14, 15]),
    (0, 6, 55, [9, 18, 27, 36, 45, 54]),
]


@pytest.mark.parametrize(("layer", "depth", "count", "expected"), SELECTIONS)
def test_identity_2_selection_fixtures(layer, depth, count, expected):
    assert uniform_selection(layer, count, depth) == expected


def every_head(count):
    """(layer, depth of its head) for pyramids of all depths up to 6."""
    depths = range(1, min(count, 7))
    return [pair for depth in depths for pair in enumerate(pyramid(count, depth))]


@pytest.mark.parametrize("blocks", [(5, 5, 5), (18, 18, 18), (1, 2, 3)])
def test_identity_2_heads_end_like_the_network(blocks):
    widths = layer_widths(blocks)
    count = len(widths)
    for layer, own in every_head(count):
        chosen = uniform_selection(layer, count, own)
        assert chosen[-1] == count - 1
        assert len(chosen) == own
        assert chosen == sorted(set(chosen))
        assert chosen[0] > layer
        plan = head_plan(widths, layer, chosen)
        assert plan[-1].width == 64
        assert [block.inputs for block in plan[1:]] == [block.width for block in plan[:-1]]


@pytest.mark.parametrize("blocks", [(5, 5, 5), (1, 2, 3)])
def test_the_ablations_build_heads_as_deep_as_the_method_s_own(blocks):
    widths = layer_widths(blocks)
    count = len(widths)
    for layer, own in every_head(count):
        uniform = uniform_selection(layer, count, own)
        following = consecutive_selection(layer, count, own)
        repeated = repeated_selection(layer, count, own)
        assert len(uniform) == len(following) == len(repeated)
        assert following == list(range(layer + 1, layer + 1 + own))
        plan = head_plan(widths, layer, repeated)
        assert all(copy[1:] == (widths[layer], widths[layer], 1) for copy in plan)
        # where no choice is left, the two that look ahead agree
        if layer + own == count - 1:
            assert following == uniform


def test_the_selection_decides_what_heads_are_made_of():
    asked = []

    def head(layer, selected):
        asked.append(selected)
        return dense_head(layer, selected)

    auglocal(layers(), classifier(), 1, head, selection=lambda layer, count, depth: [3] * depth)
    assert asked == [[3]] * (L - 2)


def test_identity_3_one_module_is_backprop(batch):
    plain = backprop(stack([*layers(), classifier()]), cross_entropy)
    params, state = jax.jit(plain.init)(jax.random.key(1), batch)
    expected, after, _ = jax.jit(plain.signal)(params, state, batch, KEY)
    for depth in (0, L - 1):
        rule = rule_of(depth)
        wrapped = {name: {"0": stats} for name, stats in state.items()}
        grads, new, _ = jax.jit(rule.signal)({"0": params}, wrapped, batch, KEY)
        close(grads["0"], expected, 1e-6)
        close(new, {name: {"0": stats} for name, stats in after.items()}, 1e-6)


def test_identity_4_the_whole_rest_as_head_gives_the_backprop_gradient(batch):
    net = [*layers(), classifier()]
    plain = backprop(stack(net), cross_entropy)
    params, state = jax.jit(plain.init)(jax.random.key(1), batch)
    expected = jax.jit(plain.signal)(params, state, batch, KEY)[0]
    stats, h = state["batch_stats"], batch["inputs"]
    for i in range(L - 1):
        rule = local_learning([LocalModule(net[i], cross_entropy, stack(net[i + 1 :]))])
        own = {"0": params[str(i)], "heads": {"0": shifted(params, i)}}
        rest = {name: part for name, part in shifted(stats | {str(L): {}}, i).items() if part}
        own_stats = {"batch_stats": {"0": stats[str(i)], "heads": {"0": rest}}}
        grads = jax.jit(rule.signal)(own, own_stats, batch | {"inputs": h}, KEY)[0]
        close(grads["0"], expected[str(i)], 1e-4)
        close(grads["heads"]["0"], shifted(expected, i), 1e-4)
        forward = jax.jit(lambda p, s, x, layer=net[i]: layer.apply(p, s, x, train=True)[0])
        h = forward(params[str(i)], {"batch_stats": stats[str(i)]}, h)


def shifted(tree, i):
    """The entries after layer i, renumbered from 0."""
    return {str(j - i - 1): tree[str(j)] for j in range(i + 1, L + 1)}


def test_identity_5_sum_of_stopped_losses_has_the_same_gradient(started, batch, signalled):
    params, state = started

    def total(params):
        return sum(local_loss(i, params, state, batch) for i in range(K))

    loss, grads = jax.jit(jax.value_and_grad(total))(params)
    np.testing.assert_allclose(signalled[2]["loss"], loss, rtol=1e-6)
    close(signalled[0], grads, 1e-5)


def test_identity_6_heads_do_not_matter_for_prediction(started, batch):
    params, state = started
    rule = rule_of(DEPTH)
    predict = jax.jit(lambda p, s: rule.predict(p, s, batch)[0])
    other = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params["heads"])
    logits = predict(params, state)
    np.testing.assert_array_equal(logits, predict(params | {"heads": other}, state))
    assert bool(jnp.isfinite(logits).all())


def test_identity_6_a_resnet_predicts_by_its_primary_path_alone():
    widths = layer_widths((1, 1), (4, 8))
    net = [*cifar_resnet((1, 1), (4, 8)), pooled_classifier(CLASSES)]

    def head(layer, selected):
        return copied_blocks_head(widths, layer, selected, CLASSES)

    rule = auglocal(net[:-1], net[-1], 1, head)
    batch = {"inputs": jax.random.normal(KEY, (2, 4, 4, 3)), "labels": jnp.array([0, 1])}
    params, state = jax.jit(rule.init)(KEY, batch)
    own = {"0": params["0"]} | {str(i + 1): params["1"][str(i)] for i in range(3)}
    stats = state["batch_stats"]
    stats = {"0": stats["0"]} | {str(i + 1): stats["1"][str(i)] for i in range(2)}
    expected, _ = jax.jit(stack(net).apply)(own, {"batch_stats": stats}, batch["inputs"])
    predict = jax.jit(lambda params: rule.predict(params, state, batch)[0])
    np.testing.assert_allclose(predict(params), expected, atol=1e-5)
    other = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params["heads"])
    np.testing.assert_allclose(predict(params | {"heads": other}), expected, atol=1e-5)


def test_identity_7_later_layers_do_not_reach_back(started, batch, signalled):
    params, state = started
    signal = jax.jit(lambda p: rule_of(DEPTH).signal(p, state, batch, KEY)[0])
    for m in range(K):
        changed = params | {str(m): jax.tree.map(lambda leaf: 1.1 * leaf + 0.01, params[str(m)])}
        grads = signal(changed)
        for i in range(K):
            same = all(
                bool((a == b).all())
                for a, b in zip(
                    jax.tree.leaves(grads[str(i)]),
                    jax.tree.leaves(signalled[0][str(i)]),
                    strict=True,
                )
            )
            assert same == (i < m), (m, i)


@pytest.mark.slow
def test_step_trains_every_module(batch):
    rule = rule_of(DEPTH)
    tx = optax.sgd(0.1, momentum=0.9, nesterov=True)
    state = make_state(rule, tx, jax.random.key(0), batch)
    step = jax.jit(make_step(rule, tx))
    first = None
    for _ in range(12):
        state, metrics = step(state, batch)
        first = metrics if first is None else first
    for i in range(K):
        assert metrics[f"loss/{i}"] < first[f"loss/{i}"]


def test_depths_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"depth must lie in 1\.\.3 for 4 layers, found 4"):
        rule_of(4)
    with pytest.raises(ValueError, match="all 4 layers learn together; found joint=1"):
        rule_of(0, joint=1)
    with pytest.raises(ValueError, match="found layer 3 of 4"):
        uniform_selection(3, 4, 1)
    with pytest.raises(ValueError, match="fewer heads than the 4 layers, found 4"):
        layer_by_layer(
            layers(), classifier(), [Auxiliary(classifier(), cross_entropy)] * 4, cross_entropy
        )


def test_modules_in_a_loop_learn_the_same(batch):
    layer, last = from_linen(Layer(6)), from_linen(Layer(7))
    head = stack([last, classifier()])
    narrow = batch | {"inputs": batch["inputs"][:, :3]}
    key = jax.random.key(2)
    found = []
    for loop in (False, True):
        heads = [Auxiliary(head, cross_entropy)] * 3
        rule = layer_by_layer([layer] * 3 + [last], classifier(), heads, cross_entropy, loop=loop)
        params, state = jax.jit(rule.init)(key, narrow)
        signal = jax.jit(lambda p, s, rule=rule: rule.signal(p, s, narrow, KEY))
        found.append(signal(params, state))
        # layers 1 and 2 are alike, layer 0 has other inputs, and the last module another head
        assert str(jax.make_jaxpr(signal)(params, state)).count("scan[") == int(loop)
    close(found[1], found[0], 1e-6)


def test_without_pyramid_all_heads_have_full_depth():
    assert pyramid(16, 5, tau=0.0) == [5] * 10
