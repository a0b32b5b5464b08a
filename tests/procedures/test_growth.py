"""MixtureGrowth: the identities of templates, members and growth."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlearn.core import FROZEN, make_state, make_step, reparametrize, stack, trees
from jaxlearn.models.wide_resnet import wide_resnet
from jaxlearn.objectives import cross_entropy
from jaxlearn.parametrizations.templates import (
    BLOCKS,
    assembled,
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
from jaxlearn.rules import backprop

KEY = jax.random.key(0)
CLASSES, K = 3, 2
SMALL = stack(wide_resnet(10, 0.25, CLASSES, second_norm=False, stem=4))
WIDE = stack(wide_resnet(10, 0.5, CLASSES, second_norm=False, stem=8))
X = jax.random.normal(KEY, (4, 8, 8, 3))
PARAMS, STATE = jax.jit(SMALL.init)(KEY, X)
SHAPES, WIDE_STATE = jax.eval_shape(WIDE.init, KEY, X)


def moved(tree, seed):
    """Leaves away from where they begin, positive where they are variances."""
    keys = iter(jax.random.split(jax.random.key(seed), 999))
    shift = lambda leaf: 0.5 * (jax.random.uniform(next(keys), leaf.shape) - 0.4)
    return jax.tree.map(lambda leaf: leaf + shift(leaf), tree)


def a_member(number):
    """Parametrization, theta, frozen and running statistics, as if trained."""
    made = member(number, K)
    theta, frozen = made.init(KEY, PARAMS)
    return made, moved(theta, number), frozen, moved(STATE, number + 10)


ONE, TWO = a_member(0), a_member(1)
small_logits = jax.jit(lambda params, state: SMALL.apply(params, state, X)[0])
wide_logits = jax.jit(lambda params, state: WIDE.apply(params, state, X)[0])


def grown(mode, first=ONE, second=TWO):
    """Wide parameters and state."""
    theta, frozen = grow(first[1:3], second[1:3], SHAPES, KEY, mode=mode)
    return theta, frozen, grown_state(first[3], second[3], WIDE_STATE)


def member_params(found):
    return found[0].materialize(*found[1:3])


def test_identity_1_zero_growth_adds_the_logits_of_the_members():
    theta, frozen, state = grown("zero")
    whole = wide_logits(wide().materialize(theta, frozen), state)
    parts = [small_logits(member_params(found), found[3]) for found in (ONE, TWO)]
    assert np.abs(parts[0]).max() > 0.1
    np.testing.assert_allclose(whole, parts[0] + parts[1], rtol=1e-4, atol=1e-4)


def test_identity_1_hidden_activations_are_the_members_side_by_side():
    theta, frozen, state = grown("zero")
    params = wide().materialize(theta, frozen)
    layers = wide_resnet(10, 0.5, 3, second_norm=False, stem=8)
    small = wide_resnet(10, 0.25, 3, second_norm=False, stem=4)
    x, parts = X, [X, X]
    for i in range(len(layers) - 1):  # the stem and every block, shortcuts included
        name = str(i)
        x, _ = layers[i].apply(params[name], trees.part(state, name), x)
        parts = [
            small[i].apply(member_params(found)[name], trees.part(found[3], name), part)[0]
            for found, part in zip((ONE, TWO), parts, strict=True)
        ]
        np.testing.assert_allclose(x, np.concatenate(parts, -1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_identity_2_the_diagonal_blocks_are_the_members_bitwise(mode):
    theta, frozen, _ = grown(mode)
    made = wide().materialize(theta, frozen)
    for (keys, whole), one, two in zip(
        jax.tree.leaves_with_path(made),
        jax.tree.leaves(member_params(ONE)),
        jax.tree.leaves(member_params(TWO)),
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
    rows, spare = (
        jax.random.normal(KEY, (2, count)),
        jax.random.normal(jax.random.key(1), (2, count)),
    )
    found = grown_coefficients("orthogonal", rows, spare, KEY)
    np.testing.assert_array_equal(found[:3], np.concatenate([rows, spare[:1]]))
    seen, new = np.asarray(found[:3], np.float64), np.asarray(found[3], np.float64)
    assert np.linalg.norm(new) == pytest.approx(1, abs=1e-5)
    smallest = np.linalg.svd(seen)[1][-1] if count <= 3 else 0.0
    assert np.linalg.norm(seen @ new) == pytest.approx(smallest, abs=1e-5)
    np.testing.assert_array_equal(least_used(found[:3]), found[3])


def test_identity_4_training_member_1_leaves_member_0_as_it_is():
    """Under weight decay too: what is grown has member 0's leaves bitwise."""
    rule = reparametrize(backprop(SMALL, cross_entropy), TWO[0])
    batch = {"inputs": X, "labels": jnp.array([0, 1, 2, 0]), "index": jnp.arange(4)}
    tx = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1, 0.9))
    state, before = make_state(rule, tx, KEY, batch), jax.tree.map(np.asarray, ONE[1])
    first, step = state.params, jax.jit(make_step(rule, tx))
    for _ in range(2):
        state, _ = step(state, batch)
    assert np.any(first["templates"]["0/stem/kernel"] != state.params["templates"]["0/stem/kernel"])
    second = (state.params, state.state[FROZEN]["own"])
    theta, _ = grow(ONE[1:3], second, SHAPES, KEY)
    for path, sets in theta["templates"].items():
        np.testing.assert_array_equal(sets["0"], before["templates"][path])
        np.testing.assert_array_equal(theta["coefficients"][path][0], before["coefficients"][path])


def test_identity_5_gradient_of_templates_is_the_sum_over_the_blocks_that_use_them():
    theta, frozen, _ = grown("orthogonal")
    path = "2/conv1/kernel"
    whole = jax.tree.map(lambda leaf: jax.random.normal(KEY, leaf.shape), SHAPES)
    loss = lambda theta: sum(
        jnp.sum(a * b)
        for a, b in zip(
            jax.tree.leaves(wide().materialize(theta, frozen)), jax.tree.leaves(whole), strict=True
        )
    )
    found = jax.grad(loss)(theta)["templates"][path]
    slope, rows = whole["2"]["conv1"]["kernel"], theta["coefficients"][path]
    i, o = (size // 2 for size in slope.shape[-2:])
    block = [slope[..., :i, :o], slope[..., i:, o:], slope[..., i:, :o], slope[..., :i, o:]]
    for name, used in {"0": (0, 2), "1": (1, 3)}.items():
        want = sum(jnp.einsum("k,hwio->khwio", rows[n], block[n]) for n in used)
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-5)


def test_identity_6_shapes_and_size_are_those_of_the_plain_network():
    theta, frozen, state = grown("orthogonal")
    made = wide().materialize(theta, frozen)
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, SHAPES)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, WIDE_STATE)
    plain, _ = jax.eval_shape(stack(wide_resnet(10, 0.5, CLASSES, stem=8)).init, KEY, X)
    second = sum(2 * channels for channels in (8, 16, 32))
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    assert size(made) == size(plain) - second
    assert not [path for path in theta["templates"] if path.endswith("bias")]


def test_identity_6_one_template_of_coefficient_one_is_an_ordinary_network():
    params, state = jax.jit(WIDE.init)(KEY, X)
    theta, frozen = wide().init(KEY, params)
    made = wide().materialize(theta, frozen)
    jax.tree.map(np.testing.assert_array_equal, made, params)
    np.testing.assert_array_equal(wide_logits(made, state), wide_logits(params, state))


def test_identity_7_swapping_the_members_leaves_the_logits_of_zero_growth():
    logits = []
    for first, second in ((ONE, TWO), (TWO, ONE)):
        theta, frozen, state = grown("zero", first, second)
        logits.append(wide_logits(wide().materialize(theta, frozen), state))
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


def test_identity_8_weights_made_once_are_weights_made_at_every_step():
    theta, frozen, state = grown("orthogonal")
    often = jax.jit(lambda theta: WIDE.apply(wide().materialize(theta, frozen), state, X)[0])
    once = wide_logits(wide().materialize(theta, frozen), state)
    np.testing.assert_allclose(often(theta), once, rtol=1e-5, atol=1e-6)


def test_members_share_an_orthogonal_matrix_of_coefficients_and_no_templates():
    made = [member(number, K).init(KEY, PARAMS) for number in (0, 1)]
    for path, first in made[0][0]["coefficients"].items():
        rows = [first, made[1][0]["coefficients"][path]]
        if by_name(path) == "diagonal":
            rows += [frozen["spare"][path] for _, frozen in made]
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
    rows, spare = jax.random.normal(KEY, (2, 3)), jnp.ones((2, 3))
    of = lambda mode, **options: grown_coefficients(mode, rows, spare, KEY, **options)[2:]
    np.testing.assert_array_equal(of("zero"), 0)
    np.testing.assert_array_equal(of("none"), spare)
    np.testing.assert_array_equal(of("copy", noise=0.0), rows)
    assert np.all((of("random") >= 0) & (of("random") < 1))
    np.testing.assert_allclose(of("orthogonal", noise=0.5)[1], 0.5 * of("orthogonal")[1], 1e-6)


def test_layouts_and_neutral_channels():
    assert BLOCKS[layout_of((3, 3, 4, 4), (3, 3, 8, 8))] == 4
    assert layout_of((4, 3), (8, 3)) == "inputs"
    blocks = [jnp.full((1, 1), i) for i in range(4)]
    assert assembled(blocks, "diagonal").tolist() == [[0, 3], [2, 1]]
    assert mixed(jnp.eye(2), jnp.array([3.0, 4.0])).tolist() == [3.0, 4.0]
    for name, fill in {"scale": 1, "var": 1, "bias": 0, "mean": 0}.items():
        found = concatenated(jnp.array([5.0]), jnp.array([6.0]), (4,), f"norm/{name}")
        assert found.tolist() == [5, fill, fill, 6]


def test_momentum_of_the_members_leaves_is_kept_and_new_leaves_begin_at_zero():
    theta, _, _ = grown("orthogonal")
    kept = grown_momentum(ONE[1], TWO[1], theta)
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, theta)
    jax.tree.map(np.testing.assert_array_equal, kept["templates"], theta["templates"])
    for path, rows in theta["coefficients"].items():
        np.testing.assert_array_equal(kept["coefficients"][path][:2], rows[:2])
        assert not np.any(kept["coefficients"][path][2:])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(kept["rest"]))


def test_random_blocks_are_kaimings_beside_an_untouched_diagonal():
    theta, frozen, _ = grown("zero")
    whole = wide().materialize(theta, frozen)
    found = with_random_blocks(whole, KEY)
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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: member(2, 2), "members are 0 and 1"),
        (lambda: member(0, 2).init(KEY, {"bias": jnp.ones(2)}), "no parameter is templated"),
        (lambda: layout_of((4, 4), (8, 4, 4)), "is not made of blocks"),
        (lambda: grown_coefficients("half", jnp.ones((2, 2)), jnp.ones((2, 2)), KEY), "is none of"),
        (lambda: concatenated(jnp.ones(2), jnp.ones(2), (3,), "a/scale"), "fewer than those"),
        (lambda: grow(ONE[1:3], TWO[1:3], {"x": jnp.ones(2)}, KEY), "the wide network"),
        (lambda: wide_resnet(11, 1, 10), "a depth of 6n"),
    ],
)
def test_wrong_use_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()
