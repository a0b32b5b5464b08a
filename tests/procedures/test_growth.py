"""MixtureGrowth: the identities of templates, members and growth."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import FROZEN, TrainState, make_step, reparametrize, stack, trees
from jaxlearn.models.wide_resnet import wide_resnet
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.templates import (
    assembled,
    blocks_of,
    by_name,
    coefficient_rows,
    layout_of,
    member,
    mixed,
    wide,
)
from jaxlearn.procedures.growth import (
    MODES,
    concatenated,
    grow,
    grown_coefficients,
    grown_momentum,
    grown_state,
    least_used,
    with_random_blocks,
)
from jaxlearn.procedures.member_starts import copied_member, with_more_templates
from jaxlearn.rules import backprop
from tests.drawn import drawn, variables

KEY = jax.random.key(0)
CLASSES, K = 3, 2
SMALL = stack(wide_resnet(10, 0.25, CLASSES, second_norm=False, stem=4))
WIDE = stack(wide_resnet(10, 0.5, CLASSES, second_norm=False, stem=8))
X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
SHAPES, WIDE_STATE = jax.eval_shape(WIDE.init, KEY, X)


@cache
def a_member(number):
    """Parametrization, theta, frozen and running statistics, as if trained."""
    made = member(number, K)
    params, state = jax.eval_shape(SMALL.init, KEY, X)
    theta, frozen = jax.eval_shape(made.init, KEY, params)
    theta = drawn(theta, number)
    theta["coefficients"] = jax.tree.map(lambda row: 20 * np.asarray(row), theta["coefficients"])
    return made, theta, drawn(frozen, number + 20), drawn(state, number + 10)


small_logits = jax.jit(lambda params, state: SMALL.apply(params, state, X)[0])
wide_logits = jax.jit(lambda params, state: WIDE.apply(params, state, X)[0])


@cache
def growing(mode):
    """Wide parameters and state from what two members are."""

    def both(one, two):
        theta, frozen = grow(one[:2], two[:2], SHAPES, KEY, mode=mode)
        return theta, frozen, grown_state(one[2], two[2], WIDE_STATE)

    return jax.jit(both)


def grown(mode, first=0, second=1):
    return growing(mode)(a_member(first)[1:], a_member(second)[1:])


wide_params = jax.jit(wide().materialize)


@cache
def member_params(number):
    made, theta, frozen, _ = a_member(number)
    return jax.jit(made.materialize)(theta, frozen)


def test_identity_1_zero_growth_adds_the_logits_of_the_members():
    theta, frozen, state = grown("zero")
    whole = wide_logits(wide_params(theta, frozen), state)
    parts = [small_logits(member_params(number), a_member(number)[3]) for number in (0, 1)]
    assert np.abs(parts[0]).max() > 0.1
    np.testing.assert_allclose(whole, parts[0] + parts[1], rtol=1e-4, atol=1e-4)


def test_identity_1_hidden_activations_are_the_members_side_by_side():
    theta, frozen, state = grown("zero")
    layers = wide_resnet(10, 0.5, 3, second_norm=False, stem=8)
    small = wide_resnet(10, 0.25, 3, second_norm=False, stem=4)

    def hidden(blocks):
        """The outputs of the stem and every block, shortcuts included."""

        def through(params, state):
            x, found = X, []
            for i, block in enumerate(blocks[:-1]):
                x, _ = block.apply(params[str(i)], trees.part(state, str(i)), x)
                found.append(x)
            return found

        return jax.jit(through)

    whole, alone = hidden(layers)(wide_params(theta, frozen), state), hidden(small)
    parts = [alone(member_params(number), a_member(number)[3]) for number in (0, 1)]
    assert len(whole) == 4
    for x, one, two in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(x, np.concatenate([one, two], -1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_identity_2_the_diagonal_blocks_are_the_members_bitwise(mode):
    theta, frozen, _ = grown(mode)
    made = jax.tree.map(np.asarray, wide_params(theta, frozen))
    for (keys, whole), one, two in zip(
        jax.tree.leaves_with_path(made),
        jax.tree.leaves(member_params(0)),
        jax.tree.leaves(member_params(1)),
        strict=True,
    ):
        if whole.ndim < 2:
            continue
        rows, columns = one.shape[-2:]
        np.testing.assert_array_equal(whole[..., :rows, :columns], one)
        np.testing.assert_array_equal(whole[..., -rows:, -columns:], two)
        if by_name(trees.path(keys)) == "diagonal":
            corner = whole[..., :rows, columns:]
            assert np.any(corner) == (mode != "zero")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_identity_3_the_new_coefficients_are_the_direction_least_used(count):
    rows, spare = np.random.default_rng(0).normal(size=(2, 2, count)).astype(np.float32)
    found = grown_coefficients("orthogonal", rows, spare, KEY)
    np.testing.assert_array_equal(found[:3], np.concatenate([rows, spare[:1]]))
    *seen, new = np.asarray(found, np.float64)
    assert np.linalg.norm(new) == pytest.approx(1, abs=1e-5)
    smallest = np.linalg.svd(seen)[1][-1] if count <= 3 else 0.0
    assert np.linalg.norm(seen @ new) == pytest.approx(smallest, abs=1e-5)
    np.testing.assert_array_equal(least_used(np.asarray(found)[:3]), found[3])


def test_identity_4_training_member_1_leaves_member_0_as_it_is():
    """Under weight decay too: what is grown has member 0's leaves bitwise."""
    rule = reparametrize(backprop(SMALL, cross_entropy), member(1, K))
    batch = {"inputs": X, "labels": jnp.array([0, 1, 2, 0]), "index": jnp.arange(4)}
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9))
    _, theta, frozen, statistics = a_member(1)
    collections = statistics | {FROZEN: {"own": frozen, "inner": {}}}
    state = TrainState(jnp.int32(0), theta, collections, jax.jit(tx.init)(theta), KEY)
    before = jax.tree.map(np.asarray, a_member(0)[1])
    first, step = state.params, jax.jit(make_step(rule, tx))
    for _ in range(2):
        state, _ = step(state, batch)
    assert np.any(first["templates"]["0/stem/kernel"] != state.params["templates"]["0/stem/kernel"])
    second = (state.params, state.state[FROZEN]["own"])
    theta, _, _ = growing("orthogonal")(a_member(0)[1:], (*second, a_member(1)[3]))
    for path, sets in theta["templates"].items():
        np.testing.assert_array_equal(sets["0"], before["templates"][path])
        np.testing.assert_array_equal(theta["coefficients"][path][0], before["coefficients"][path])


def test_identity_5_gradient_of_templates_is_the_sum_over_the_blocks_that_use_them():
    theta, frozen, _ = grown("orthogonal")
    path, draw = "2/conv1/kernel", np.random.default_rng(0)
    whole = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), SHAPES)
    loss = lambda theta: sum(
        jnp.sum(a * b)
        for a, b in zip(
            jax.tree.leaves(wide().materialize(theta, frozen)), jax.tree.leaves(whole), strict=True
        )
    )
    found = jax.jit(jax.grad(loss))(theta)["templates"][path]
    slope, rows = whole["2"]["conv1"]["kernel"], np.asarray(theta["coefficients"][path])
    i, o = (size // 2 for size in slope.shape[-2:])
    block = [slope[..., :i, :o], slope[..., i:, o:], slope[..., i:, :o], slope[..., :i, o:]]
    for name, used in {"0": (0, 2), "1": (1, 3)}.items():
        want = sum(np.einsum("k,hwio->khwio", rows[n], block[n]) for n in used)
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)


def test_identity_6_shapes_and_size_are_those_of_the_plain_network():
    theta, frozen, state = grown("orthogonal")
    made = wide_params(theta, frozen)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, SHAPES)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, WIDE_STATE)
    plain, _ = jax.eval_shape(stack(wide_resnet(10, 0.5, CLASSES, stem=8)).init, KEY, X)
    second = sum(2 * channels for channels in (8, 16, 32))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert size(made) == size(plain) - second
    assert not [path for path in theta["templates"] if path.endswith("bias")]


def test_identity_6_one_template_of_coefficient_one_is_an_ordinary_network():
    params, state = variables(WIDE, X)
    theta, frozen = jax.jit(wide().init)(KEY, params)
    made = wide_params(theta, frozen)
    jax.tree.map(np.testing.assert_array_equal, made, params)
    np.testing.assert_array_equal(wide_logits(made, state), wide_logits(params, state))


def test_identity_7_swapping_the_members_leaves_the_logits_of_zero_growth():
    logits = []
    for first, second in ((0, 1), (1, 0)):
        theta, frozen, state = grown("zero", first, second)
        logits.append(wide_logits(wide_params(theta, frozen), state))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


def test_identity_8_weights_made_once_are_weights_made_at_every_step():
    theta, frozen, state = grown("orthogonal")
    often = jax.jit(lambda theta: WIDE.apply(wide().materialize(theta, frozen), state, X)[0])
    once = wide_logits(wide_params(theta, frozen), state)
    np.testing.assert_allclose(often(theta), once, rtol=1e-5, atol=1e-6)


def test_members_share_an_orthogonal_matrix_of_coefficients_and_no_templates():
    params, _ = variables(SMALL, X)
    begin = jax.jit(lambda params: [member(number, K).init(KEY, params) for number in (0, 1)])
    made = jax.tree.map(np.asarray, begin(params))
    for path, first in made[0][0]["coefficients"].items():
        rows = [first, made[1][0]["coefficients"][path]]
        if by_name(path) == "diagonal":
            rows += [*np.concatenate([frozen["spare"][path] for _, frozen in made])]
        gram = np.stack(rows).T @ np.stack(rows)
        np.testing.assert_allclose(gram, np.eye(K), atol=1e-5)
        templates = [theta["templates"][path] for theta, _ in made]
        assert np.abs(np.subtract(*templates)).max() > 1e-3
    assert coefficient_rows(KEY, 4, 2).shape == (4, 2)


def test_templates_have_the_deviation_of_the_released_initialiser():
    leaf = jnp.zeros((3, 3, 32, 64))
    theta, _ = member(0, 8).init(KEY, {"kernel": leaf})
    want = np.sqrt(2 / (9 * 32 * 64))
    assert float(theta["templates"]["kernel"].std()) == pytest.approx(want, rel=0.02)


def test_modes_give_what_their_names_say():
    rows, spare = (
        np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32),
        np.ones((2, 3), np.float32),
    )
    of = lambda mode, **options: grown_coefficients(mode, rows, spare, KEY, **options)[2:]
    np.testing.assert_array_equal(of("zero"), 0)
    np.testing.assert_array_equal(of("none"), spare)
    np.testing.assert_array_equal(of("copy", noise=0.0), rows)
    swapped = of("copy", noise=0.0, sets=lambda block: (0, 1, 1, 0)[block])
    np.testing.assert_array_equal(swapped, rows[::-1])
    # one direction of positive entries for both
    noise = of("copy", noise=0.3) - rows
    np.testing.assert_allclose(noise[0], noise[1], atol=1e-6)
    assert np.all(noise > 0)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1), 0.3, rtol=1e-5)
    assert np.all((of("random") >= 0) & (of("random") < 1))
    np.testing.assert_allclose(of("random", noise=0.5), 0.5 * of("random"), rtol=1e-6)
    np.testing.assert_allclose(of("orthogonal", noise=0.5)[1], 0.5 * of("orthogonal")[1], 1e-6)


def test_layouts_and_neutral_channels():
    assert blocks_of(layout_of((3, 3, 4, 4), (3, 3, 8, 8))) == 4
    assert layout_of((4, 3), (8, 3)) == "inputs"
    blocks = [jnp.full((1, 1), i) for i in range(4)]
    assert assembled(blocks, "diagonal").tolist() == [[0, 3], [2, 1]]
    assert mixed(jnp.eye(2), jnp.array([3.0, 4.0])).tolist() == [3.0, 4.0]
    for name, fill in {"scale": 1, "var": 1, "bias": 0, "mean": 0}.items():
        found = concatenated(jnp.array([5.0]), jnp.array([6.0]), (4,), f"norm/{name}")
        assert found.tolist() == [5, fill, fill, 6]


def test_momentum_of_the_members_leaves_is_kept_and_new_leaves_begin_at_zero():
    theta, _, _ = grown("orthogonal")
    kept = grown_momentum(a_member(0)[1], a_member(1)[1], theta)
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, theta)
    jax.tree.map(np.testing.assert_array_equal, kept["templates"], theta["templates"])
    for path, rows in theta["coefficients"].items():
        np.testing.assert_array_equal(kept["coefficients"][path][:2], rows[:2])
        assert not np.any(kept["coefficients"][path][2:])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(kept["rest"]))


def test_random_blocks_are_kaimings_beside_an_untouched_diagonal():
    theta, frozen, _ = grown("zero")
    whole = wide_params(theta, frozen)
    found = jax.jit(with_random_blocks)(whole, KEY)
    found, whole = jax.tree.map(np.asarray, (found, whole))
    drawn = []
    for (keys, new), old in zip(
        jax.tree.leaves_with_path(found), jax.tree.leaves(whole), strict=True
    ):
        if new.ndim < 2 or by_name(trees.path(keys)) != "diagonal":
            np.testing.assert_array_equal(new, old)
            continue
        i, o = (size // 2 for size in new.shape[-2:])
        np.testing.assert_array_equal(new[..., :i, :o], old[..., :i, :o])
        np.testing.assert_array_equal(new[..., i:, o:], old[..., i:, o:])
        fan = new.size / new.shape[-1]
        corners = [new[..., :i, o:], new[..., i:, :o]]
        drawn += [np.sqrt(fan / 2) * np.asarray(corner).ravel() for corner in corners]
    every = np.concatenate(drawn)
    assert abs(every.mean()) < 0.02
    assert every.std() == pytest.approx(1, abs=0.02)


def test_in_a_grid_of_three_all_but_the_members_is_drawn():
    whole = {"conv1": {"kernel": jnp.zeros((3, 3, 6, 9))}, "stem": {"kernel": jnp.zeros((3, 6))}}
    found = with_random_blocks(whole, KEY, grid=3)
    np.testing.assert_array_equal(found["stem"]["kernel"], 0)
    drawn = np.asarray(found["conv1"]["kernel"] != 0).reshape(9, 3, 2, 3, 3)
    for row in range(3):
        for column in range(3):
            a_member = row == column != 1
            assert np.all(drawn[:, row, :, column] != a_member), (row, column)


def test_a_grid_of_three_has_the_members_at_its_ends_and_adds_their_logits():
    """In the middle are channels of no member: zero growth gives them nothing to say."""
    net = stack(wide_resnet(10, 0.75, CLASSES, second_norm=False, stem=12))
    shapes, statistics = jax.eval_shape(net.init, KEY, X)
    small = jax.eval_shape(SMALL.init, KEY, X)[0]

    @jax.jit
    def started(one, two):
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), small)
        begun = [member(i, K, grid=3).init(KEY, zeros)[1] for i in (0, 1)]
        pair = [(own[0], frozen) for own, frozen in zip((one, two), begun, strict=True)]
        made = {m: grow(*pair, shapes, KEY, mode=m) for m in ("zero", "orthogonal", "copy")}
        return made, grown_state(one[2], two[2], statistics)

    made, state = started(a_member(0)[1:], a_member(1)[1:])
    theta, frozen = made["zero"]
    whole = jax.jit(lambda: net.apply(wide().materialize(theta, frozen), state, X)[0])()
    parts = [small_logits(member_params(number), a_member(number)[3]) for number in (0, 1)]
    np.testing.assert_allclose(whole, parts[0] + parts[1], rtol=1e-4, atol=1e-4)
    rows = np.asarray(made["orthogonal"][0]["coefficients"]["1/conv1/kernel"])
    assert rows.shape == (9, K)
    for i in range(3, 9):
        smallest = np.linalg.svd(rows[:i])[1][-1]
        np.testing.assert_allclose(
            np.linalg.norm(rows[:i] @ rows[i]), smallest, rtol=1e-4, atol=1e-5
        )
    copied = np.asarray(made["copy"][0]["coefficients"]["1/conv1/kernel"])
    assert not np.any(np.all(copied[2:] == copied[:2][np.arange(7) % 2], 1))


def test_layers_that_share_a_bank_are_mixtures_of_the_same_templates():
    shared = lambda path: "bank" if "conv" in path else path
    params = {
        name: {"kernel": jnp.ones(size)}
        for name, size in (("conv1", (3, 3, 4, 4)), ("conv2", (3, 3, 4, 4)), ("classifier", (4, 5)))
    }
    normal = lambda key, rows, count: jax.random.normal(key, (rows, count))
    many = lambda name: 3 if name == "bank" else 1
    made = [member(i, many, shared=shared, rows=normal) for i in (0, 1)]
    pair = [own.init(KEY, params) for own in made]
    assert {n: len(leaf) for n, leaf in pair[0][0]["templates"].items()} == {
        "bank": 3,
        "classifier/kernel": 1,
    }
    shapes = jax.eval_shape(
        lambda: {
            "conv1": {"kernel": jnp.ones((3, 3, 8, 8))},
            "conv2": {"kernel": jnp.ones((3, 3, 8, 8))},
            "classifier": {"kernel": jnp.ones((8, 5))},
        }
    )
    theta, frozen = grow(*pair, shapes, KEY, shared=shared)
    kernels = wide(shared=shared).materialize(theta, frozen)
    for name in ("conv1", "conv2"):
        rows = theta["coefficients"][f"{name}/kernel"]
        whole = kernels[name]["kernel"]
        sets = theta["templates"]["bank"]
        np.testing.assert_allclose(
            whole[..., :4, :4], np.einsum("k,k...->...", rows[0], sets["0"]), rtol=1e-5
        )
        np.testing.assert_allclose(
            whole[..., :4, 4:], np.einsum("k,k...->...", rows[3], sets["1"]), rtol=1e-5, atol=1e-7
        )
    assert np.any(kernels["conv1"]["kernel"] != kernels["conv2"]["kernel"])
    # the bank learns from both layers
    total = lambda theta: sum(
        map(jnp.sum, jax.tree.leaves(wide(shared=shared).materialize(theta, frozen)))
    )
    slope = jax.grad(total)(theta)["templates"]["bank"]["0"]
    rows = [theta["coefficients"][f"{name}/kernel"] for name in ("conv1", "conv2")]
    expected = sum(row[0] + row[2] for row in rows)
    np.testing.assert_allclose(slope[:, 0, 0, 0, 0], expected, rtol=1e-5, atol=1e-6)


@cache
def with_more(number, count=3):
    """A member of more templates, from the one as if trained."""
    _, *trained, _ = a_member(number)
    shapes = jax.eval_shape(SMALL.init, KEY, X)[0]
    return jax.jit(lambda: with_more_templates(tuple(trained), number, count, KEY, shapes))()


def test_more_templates_leave_a_member_as_it_is_and_take_part_in_growth():
    pair = [with_more(number) for number in (0, 1)]
    for number, (theta, frozen) in enumerate(pair):
        found = jax.jit(member(number, 3).materialize)(theta, frozen)
        jax.tree.map(np.testing.assert_array_equal, found, member_params(number))
    theta, frozen = jax.jit(lambda one, two: grow(one, two, SHAPES, KEY))(*pair)
    whole = jax.tree.map(np.asarray, wide_params(theta, frozen))
    for path, rows in jax.tree.map(np.asarray, theta["coefficients"]).items():
        assert rows.shape == (blocks_of(by_name(path)), 3)
        assert not np.any(rows[:2, 2:]), "the members do not use them"
        assert np.all(rows[2:, 2:] != 0), "the new blocks do"
        assert {len(own) for own in theta["templates"][path].values()} == {3}
    assert jax.tree.map(jnp.shape, whole) == jax.tree.map(jnp.shape, SHAPES)
    kept = grown_momentum(a_member(0)[1], a_member(1)[1], theta)
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, theta)
    for path, sets in kept["templates"].items():
        for name, old in (("0", a_member(0)[1]), ("1", a_member(1)[1])):
            np.testing.assert_array_equal(sets[name][:2], old["templates"][path])
            assert not np.any(sets[name][2:])


def test_a_copied_member_is_near_the_other_in_all_but_its_coefficients():
    (_, one, *_), (_, two, *_) = a_member(0), a_member(1)
    near = jax.jit(copied_member)(two, one, KEY)
    moved = jax.tree.map(np.subtract, near, one)
    away = np.concatenate(
        [np.ravel(leaf) for part in ("templates", "rest") for leaf in jax.tree.leaves(moved[part])]
    )
    assert abs(away.mean()) < 1e-3
    assert away.std() == pytest.approx(0.01, rel=0.05)
    jax.tree.map(np.testing.assert_array_equal, near["coefficients"], two["coefficients"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: with_more(0, 1), "less than the 2 templates"),
        (lambda: copied_member({"x": jnp.ones(2)}, {"x": jnp.ones(3)}, KEY), "different layers"),
        (lambda: member(2, 2), "members are 0 and 1"),
        (lambda: member(0, 2, grid=1), "grid at least 2"),
        (
            lambda: member(0, 2, shared=lambda path: "bank").init(
                KEY, {"a": {"kernel": jnp.ones((2, 2))}, "b": {"kernel": jnp.ones((2, 3))}}
            ),
            "shapes have to be equal",
        ),
        (lambda: layout_of((4, 4), (8, 12)), "is not made of blocks"),
        (lambda: member(0, 2).init(KEY, {"bias": jnp.ones(2)}), "no parameter is templated"),
        (lambda: layout_of((4, 4), (8, 4, 4)), "is not made of blocks"),
        (lambda: grown_coefficients("half", jnp.ones((2, 2)), jnp.ones((2, 2)), KEY), "is none of"),
        (lambda: concatenated(jnp.ones(2), jnp.ones(2), (3,), "a/scale"), "fewer than those"),
        (
            lambda: concatenated(jnp.ones((4, 4)), jnp.ones((4, 4)), (8, 8), "a/kernel"),
            r"a/kernel has no templates, and \(4, 4\)",
        ),
        (
            lambda: with_random_blocks({"a": {"kernel": jnp.ones((4, 5))}}, KEY),
            r"a/kernel \(4, 5\) is not made of 2 times 2",
        ),
        (
            lambda: grow(a_member(0)[1:3], a_member(1)[1:3], {"x": jnp.ones(2)}, KEY),
            "the wide network",
        ),
        (lambda: wide_resnet(11, 1, 10), "a depth of 6n"),
    ],
)
def test_wrong_use_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
