"""Quadratic neurons against float64 loops, and the identities of their forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.quadratic import (
    FORMS,
    QuadraticConv,
    QuadraticDense,
    anchor_of,
    group_of,
    quadratic,
    with_linear_path,
)
from tests.models.test_cifar_resnet import conv_by_hand

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 4))


def drawn(shape, seed=0):
    """All three branches random, kernels and biases."""
    rng = np.random.default_rng(seed)
    names = [(f"kernel_{k}", f"bias_{k}") for k in "rgb"]
    return {
        name: jnp.asarray(rng.normal(size=size), jnp.float32)
        for kernel, bias in names
        for name, size in ((kernel, shape), (bias, shape[-1:]))
    }


def by_hand(p, x, form, product=np.matmul):
    """The table of `quadratic` in float64, each branch by itself."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in p.items()}
    branch = lambda k, x: product(x, p[f"kernel_{k}"]) + p[f"bias_{k}"]
    x = np.asarray(x, np.float64)
    r, g, q = branch("r", x), branch("g", x), branch("b", x * x)
    full = {"full": r * g + q, "compact": r + q, "product": r * g}
    return (full | {"conventional": r, "squared": r * r})[form]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_dense_neuron(form):
    p = drawn((4, 3))
    found = quadratic(p, X, form=form)
    np.testing.assert_allclose(found, by_hand(p, X, form), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_convolution_is_the_neuron_at_every_place(stride):
    x = np.random.default_rng(2).normal(size=(2, 4, 4, 2))
    p = drawn((3, 3, 2, 3))
    found = QuadraticConv(3, stride=stride).apply({"params": p}, jnp.asarray(x, jnp.float32))
    expected = by_hand(p, x, "full", lambda x, k: conv_by_hand(x, k, stride))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_of_one_pixel_is_a_dense_layer_at_every_place(stride):
    x = np.random.default_rng(2).normal(size=(2, 4, 4, 2)).astype(np.float32)
    p = drawn((1, 1, 2, 3))
    dense = {name: leaf.reshape(leaf.shape[-2:]) for name, leaf in p.items()}
    found = QuadraticConv(3, size=1, stride=stride).apply({"params": p}, x)
    np.testing.assert_allclose(found, quadratic(dense, x[:, ::stride, ::stride]), atol=1e-5)


def test_gradients_have_their_closed_form():
    """dL/dW_r = x'(c g), dL/dW_g = x'(c r), dL/dW_b = (x^2)'c, dL/dx by all three routes."""
    p, c = drawn((4, 3)), np.random.default_rng(3).normal(size=(5, 3))
    loss = lambda p, x: jnp.sum(jnp.asarray(c, jnp.float32) * quadratic(p, x))
    grads, to_x = jax.grad(loss, (0, 1))(p, X)
    w = {name: np.asarray(leaf, np.float64) for name, leaf in p.items()}
    x = np.asarray(X, np.float64)
    r, g = x @ w["kernel_r"] + w["bias_r"], x @ w["kernel_g"] + w["bias_g"]
    routes = {"r": (x, c * g), "g": (x, c * r), "b": (x * x, c)}
    for k, (left, right) in routes.items():
        np.testing.assert_allclose(grads[f"kernel_{k}"], left.T @ right, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(grads[f"bias_{k}"], right.sum(0), rtol=1e-4, atol=1e-4)
    expected = (c * g) @ w["kernel_r"].T + (c * r) @ w["kernel_g"].T + 2 * x * (c @ w["kernel_b"].T)
    np.testing.assert_allclose(to_x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["full", "compact"])
def test_recomputing_changes_what_is_kept_and_nothing_else(form):
    p = drawn((4, 3))
    loss = lambda recompute: (
        lambda p, x: jnp.sum(quadratic(p, x, form=form, recompute=recompute) ** 2)
    )
    plain, again = (jax.value_and_grad(loss(r), (0, 1))(p, X) for r in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, again)


def test_recomputing_keeps_the_input_alone():
    """Of arrays as long as the batch the backward pass holds x, instead of x, r, g and x^2."""
    p, x = drawn((4, 4)), jnp.ones((7, 4))

    def kept(recompute):
        _, pull_back = jax.vjp(lambda p, x: quadratic(p, x, recompute=recompute), p, x)
        return sum(leaf.shape == (7, 4) for leaf in jax.tree.leaves(pull_back))

    assert kept(True) == 1
    assert kept(False) >= 3


def test_identity_6_without_biases_the_neuron_is_homogeneous_of_degree_2():
    p = {n: leaf * (not n.startswith("bias")) for n, leaf in drawn((4, 3)).items()}
    np.testing.assert_allclose(quadratic(p, 3 * X), 9 * quadratic(p, X), rtol=1e-4)
    shifted = p | {"bias_g": jnp.ones(3)}
    assert not np.allclose(quadratic(shifted, 3 * X), 9 * quadratic(shifted, X), rtol=1e-2)


def test_identity_7_compact_is_full_with_g_equal_to_1():
    p = drawn((4, 3))
    still = p | {"kernel_g": jnp.zeros((4, 3)), "bias_g": jnp.ones(3)}
    np.testing.assert_allclose(quadratic(p, X, form="compact"), quadratic(still, X), rtol=1e-6)
    assert not np.allclose(quadratic(p, X, form="compact"), quadratic(p, X), atol=0.1)


def test_identity_10_a_quadratic_convolution_has_three_times_the_parameters():
    x = jnp.ones((1, 4, 4, 5))
    count = lambda form: sum(
        leaf.size for leaf in jax.tree.leaves(QuadraticConv(7, form=form).init(KEY, x))
    )
    assert count("full") == 3 * (9 * 5 * 7 + 7)
    assert count("compact") == count("product") == 2 * (9 * 5 * 7 + 7)
    assert count("conventional") == count("squared") == 9 * 5 * 7 + 7


def test_the_relinear_start_is_a_conventional_neuron_with_kaiming_weights():
    p = QuadraticDense(300).init(KEY, jnp.ones((1, 200)))["params"]
    assert float(p["kernel_r"].std()) == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    bound = 200**-0.5
    assert 0.95 * bound < float(jnp.abs(p["bias_r"]).max()) <= bound
    for name in ("kernel_g", "kernel_b", "bias_b"):
        assert not np.any(p[name])
    assert np.all(p["bias_g"] == 1)


def test_the_random_start_draws_all_branches_alike_and_r_is_the_same_in_every_form():
    x = jnp.ones((1, 4, 4, 20))
    full = QuadraticConv(30, start="random").init(KEY, x)["params"]
    for k in "rgb":
        assert float(full[f"kernel_{k}"].std()) == pytest.approx((2 / 180) ** 0.5, rel=0.05)
        assert 0 < float(jnp.abs(full[f"bias_{k}"]).max()) <= 180**-0.5
    assert not np.array_equal(full["kernel_r"], full["kernel_g"])
    plain = QuadraticConv(30, form="conventional").init(KEY, x)["params"]
    jax.tree.map(np.testing.assert_array_equal, plain, {n: full[n] for n in plain})


def test_inactive_branches_cost_nothing_and_get_no_gradient():
    layer, idle = QuadraticDense(64), QuadraticDense(64, active=False)
    x = jax.random.normal(KEY, (32, 64))
    params = layer.init(KEY, x)
    np.testing.assert_allclose(layer.apply(params, x), idle.apply(params, x), atol=1e-5)
    loss = lambda layer: jax.jit(jax.grad(lambda params: jnp.sum(layer.apply(params, x) ** 2)))
    grads = loss(idle)(params)["params"]
    assert all(np.any(grads[name]) == name.endswith("_r") for name in grads)
    flops = [loss(l).lower(params).compile().cost_analysis()["flops"] for l in (layer, idle)]
    assert flops[0] > 2.5 * flops[1]


def test_r_and_g_are_one_product():
    seen = []

    def product(x, kernel):
        seen.append(kernel.shape)
        return x @ kernel

    quadratic(drawn((4, 3)), X, product=product)
    assert seen == [(4, 6), (4, 3)]


def test_groups_and_anchors_are_read_off_the_paths():
    paths = ("kernel_r", "3/conv1/bias_r", "a/kernel_g", "bias_g", "kernel_b", "0/x/bias_b")
    assert [group_of(path) for path in paths] == ["r", "r", "g", "g", "b", "b"]
    for other in ("0/Dense_0/kernel", "b", "scale_b", "kernel_rg", "kernel_rg/b", "alpha"):
        assert group_of(other) == "other"
    assert [group_of(path) for path in ("0/kernel_g/a", "kernel_b/b", "kernel_r/b")] == [*"gbr"]
    assert [anchor_of(path) for path in paths] == [0, 0, 0, 1, 0, 0]


def test_the_linear_path_takes_a_trained_layer_in_both_notations():
    ours = {"layer": drawn((4, 3)), "head": {"kernel": jnp.zeros((3, 2))}}
    kernel, bias = jnp.full((4, 3), 2.0), jnp.full(3, 5.0)
    head = {"head": {"kernel": jnp.ones((3, 2))}}
    for layer in ({"kernel": kernel, "bias": bias}, {"kernel_r": kernel, "bias_r": bias}):
        found = with_linear_path(ours, {"layer": layer} | head)
        np.testing.assert_allclose(quadratic(found["layer"], X), X @ kernel + bias, rtol=1e-5)
        np.testing.assert_array_equal(found["head"]["kernel"], 1)
    found = with_linear_path(ours, {"layer": {"kernel": kernel}} | head)
    np.testing.assert_allclose(quadratic(found["layer"], X), X @ kernel, rtol=1e-5)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"layer": {"kernel": jnp.ones((4, 2))}}, r"layer/kernel_r needs shape \(4, 3\), found"),
        ({"layer": {"weight": jnp.ones((4, 3))}}, r"layer has no kernel, found \['weight'\]"),
        ({"other": {}}, r"the tree has the keys \['other'\], expected \['layer'\]"),
        ({"layer": 3.0}, "layer is a leaf"),
    ],
)
def test_other_trees_are_refused(theirs, message):
    with pytest.raises(ValueError, match=message):
        with_linear_path({"layer": drawn((4, 3))}, theirs)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="form='cubic' is unknown; it is one of full, compact"):
        quadratic(drawn((4, 3)), X, form="cubic")
    with pytest.raises(ValueError, match="start='zero' is unknown; it is one of relinear, random"):
        QuadraticDense(3, start="zero").init(KEY, X)
