"""BT2's head against its equations: bases, inner products, and what is compared with what."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import expm

from jaxlearn.core import FROZEN, from_linen, make_state, make_step
from jaxlearn.models.bt2 import BT2Head, EmbeddingHead, normalized
from jaxlearn.models.layers.orthonormal import BasisChange, orthonormal
from jaxlearn.objectives.backward_compatible import bct_loss, bt2_loss, embedding_loss
from jaxlearn.rules import backprop
from tests.compiled import compiled

KEY, CLASSES = jax.random.key(0), 3
SIZES = {
    "equal": {"old": 6, "new": 6, "extra": 2},
    "longer old": {"old": 8, "new": 6, "extra": 3},
    "shorter old": {"old": 4, "new": 6, "extra": 2},
    "all of it": {"old": 8, "new": 6, "extra": 2},
}


def unit(rows):
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def batch_for(old, new, n=12, seed=0):
    """Inputs with old and reference features and old prototypes."""
    draw = np.random.default_rng(seed)
    return {
        "inputs": draw.normal(size=(n, 5)).astype(np.float32),
        "labels": (np.arange(n) % CLASSES).astype(np.int32),
        "old": unit(draw.normal(size=(n, old))).astype(np.float32),
        "reference": unit(draw.normal(size=(n, new))).astype(np.float32),
        "context": {"prototypes": draw.normal(size=(CLASSES, old)).astype(np.float32)},
    }


@cache
def made(options):
    """The head as a model, and its variables."""
    options = dict(options)
    model = compiled(from_linen(BT2Head(classes=CLASSES, **options)))
    return model, *model.init(KEY, batch_for(options["old"], options["new"])["inputs"])


def head(sizes, **options):
    """The head as a model, its parameters with bases moved away from the start, its state."""
    model, params, state = made(tuple((sizes | options).items()))
    return model, turned(params, 1), state


def turned(params, seed, which=("first_basis", "second_basis")):
    """The parameters with other bases."""
    draw = np.random.default_rng(seed)
    new = {n: {"skew": 0.5 * draw.normal(size=params[n]["skew"].shape)} for n in which}
    return params | jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), new)


@pytest.mark.parametrize("chart", ["exponential", "cayley"])
def test_bases_are_orthonormal_after_100_updates(chart):
    sizes = SIZES["equal"]
    model, batch = from_linen(BT2Head(classes=CLASSES, chart=chart, **sizes)), batch_for(6, 6)
    rule, tx = backprop(model, bt2_loss()), optax.adam(1e-3)
    state = jax.jit(lambda: make_state(rule, tx, KEY, batch))()
    step, losses, start = jax.jit(make_step(rule, tx)), [], state
    for _ in range(100):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    for name in ("first_basis", "second_basis"):
        b = np.asarray(jax.jit(orthonormal, static_argnums=1)(state.params[name]["skew"], chart))
        assert np.abs(b.T @ b - np.eye(6)).max() <= 1e-5
        assert np.abs(b - np.eye(6)).max() > 1e-3  # they have moved
        np.testing.assert_array_equal(
            state.state[FROZEN][name]["start"], start.state[FROZEN][name]["start"]
        )


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_inner_products_are_those_of_a_and_u_and_the_norm_is_constant(sizes, relu):
    model, params, state = head(sizes, scale=2.0, relu=relu)
    batch = batch_for(sizes["old"], sizes["new"])
    out, _ = model.apply(params, state, batch["inputs"])
    phi, u = np.asarray(out["embedding"], np.float64), np.asarray(out["reference"], np.float64)
    assert phi.shape[1] == sizes["new"] + sizes["extra"]
    params = jax.tree.map(np.asarray, params)
    f = batch["inputs"] @ params["features"]["kernel"] + params["features"]["bias"]
    f = np.maximum(f, 0) if relu else f
    v = f @ params["other"]["kernel"] + params["other"]["bias"]
    a = unit(unit(np.asarray(v, np.float64))[:, : sizes["extra"]])
    np.testing.assert_allclose(u, unit(f[:, : sizes["new"]]), atol=1e-5)
    np.testing.assert_allclose(phi @ phi.T, a @ a.T + 4 * u @ u.T, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), np.sqrt(1 + 4), atol=1e-4)
    np.testing.assert_allclose(phi[:, : sizes["old"]], out["compatible"], atol=1e-6)


@pytest.mark.parametrize("relu", [True, False])
def test_an_embedding_is_a_layer_of_length_1_rectified_or_not(relu):
    inputs = batch_for(4, 6)["inputs"]
    model = compiled(from_linen(EmbeddingHead(6, CLASSES, relu=relu)))
    params, state = model.init(KEY, inputs)
    out, _ = model.apply(params, state, inputs)
    f = inputs @ np.asarray(params["embed"]["kernel"]) + np.asarray(params["embed"]["bias"])
    wanted = unit(np.maximum(f, 0) if relu else f)
    np.testing.assert_allclose(out["embedding"], wanted, atol=1e-6)
    assert np.any(wanted < 0) != relu


@pytest.mark.parametrize("which", ["first_basis", "second_basis"])
def test_a_basis_alone_changes_no_new_distance_but_old_ones(which):
    model, params, state = head(SIZES["equal"])
    batch = batch_for(6, 6)
    found = [
        np.asarray(model.apply(p, state, batch["inputs"])[0]["embedding"])
        for p in (params, turned(params, 9, (which,)))
    ]
    new, old = ([phi @ phi.T for phi in found], [phi[:, :6] @ batch["old"].T for phi in found])
    np.testing.assert_allclose(new[0], new[1], atol=1e-4)
    assert np.abs(old[0] - old[1]).max() > 0.1


def test_without_extra_dimensions_and_with_identity_bases_the_embedding_is_u():
    sizes = {"old": 4, "new": 6, "extra": 0}
    model = compiled(from_linen(BT2Head(classes=CLASSES, scale=1.0, identity=True, **sizes)))
    inputs = batch_for(4, 6)["inputs"]
    params, state = model.init(KEY, inputs)
    assert not jax.tree.leaves(state)
    out, _ = model.apply(params, state, inputs)
    np.testing.assert_allclose(out["embedding"], out["reference"], atol=1e-6)


EXPONENTIAL = jax.jit(orthonormal)


@pytest.mark.parametrize("size", [0.0, 1e-3, 0.3, 4.0, 50.0])
def test_the_exponential_is_that_of_scipy(size):
    a = size * np.random.default_rng(0).normal(size=(6, 6)) / 6
    wanted = expm(a - a.T)
    found = np.asarray(EXPONENTIAL(jnp.asarray(a, jnp.float32)))
    np.testing.assert_allclose(found, wanted, atol=2e-5 * max(1, size))
    assert np.abs(found.T @ found - np.eye(6)).max() <= 1e-5 * max(1, size)


@pytest.mark.parametrize("chart", ["exponential", "cayley"])
def test_the_gradient_by_a_is_skew(chart):
    draw = np.random.default_rng(0)
    a = jnp.asarray(0.3 * draw.normal(size=(5, 5)), jnp.float32)
    m = jnp.asarray(draw.normal(size=(5, 5)), jnp.float32)
    slope = jax.jit(jax.grad(lambda a: jnp.sum(m * orthonormal(a, chart)) ** 2))(a)
    slope = np.asarray(slope)
    assert np.abs(slope).max() > 0.1
    np.testing.assert_allclose(slope + slope.T, 0, atol=1e-4 * np.abs(slope).max())
    # along a skew direction it agrees with finite differences in float64
    s = draw.normal(size=(5, 5))
    s -= s.T
    skew = lambda t: (np.asarray(a, np.float64) + t * s) - (np.asarray(a, np.float64) + t * s).T
    one = np.eye(5)
    chart_of = {
        "exponential": lambda t: expm(skew(t)),
        "cayley": lambda t: np.linalg.solve(one - skew(t), one + skew(t)),
    }[chart]
    f = lambda t: np.sum(np.asarray(m, np.float64) * chart_of(t)) ** 2
    wanted = (f(1e-5) - f(-1e-5)) / 2e-5
    assert float(np.sum(slope * s)) == pytest.approx(wanted, rel=1e-3)


def test_no_gradient_reaches_old_features_reference_or_prototypes():
    model, params, state = head(SIZES["equal"])
    batch = batch_for(6, 6)
    outputs, _ = model.apply(params, state, batch["inputs"])
    given = {name: batch[name] for name in ("old", "reference", "context")}
    loss = lambda given, u: bt2_loss()(outputs | {"reference": u}, batch | given)[0]
    slopes, slope = jax.jit(jax.grad(loss, (0, 1)))(given, outputs["reference"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes))
    assert np.any(slope)


def test_two_updates_in_a_row_match_the_whole_second_embedding():
    d, r = 6, 2
    second = BT2Head(old=d, new=d, extra=r, classes=CLASSES)
    model, params, state = head({"old": d + r, "new": d, "extra": r})  # the third one
    batch = batch_for(d + r, d)
    first = compiled(from_linen(second))
    before = first.init(jax.random.key(5), batch["inputs"])
    phi_2 = np.asarray(first.apply(*before, batch["inputs"])[0]["embedding"])
    assert phi_2.shape[1] == d + r
    outputs, _ = model.apply(params, state, batch["inputs"])
    assert outputs["compatible"].shape[1] == d + r == outputs["embedding"].shape[1]
    _, metrics = jax.jit(bt2_loss())(outputs, batch | {"old": unit(phi_2)})
    q = np.asarray(outputs["compatible"], np.float64)
    wanted = np.mean(
        [1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(q, phi_2, strict=True)]
    )
    assert float(metrics["old_gap"]) == pytest.approx(wanted, abs=1e-5)


def test_the_loss_is_the_sum_of_its_four_parts():
    model, params, state = head(SIZES["equal"])
    batch = batch_for(6, 6)
    out, _ = model.apply(params, state, batch["inputs"])
    out64 = {name: np.asarray(x, np.float64) for name, x in out.items()}
    rows = np.arange(12)

    def entropy(logits):
        return -np.mean(logits[rows, batch["labels"]] - np.log(np.exp(logits).sum(1)))

    q, u = unit(out64["compatible"]), out64["reference"]
    wanted = entropy(out64["logits"]) + 7 * entropy(q @ batch["context"]["prototypes"].T)
    wanted += 4 * (1 - np.mean((q * batch["old"]).sum(1)))
    wanted += 2 * (1 - np.mean((u * batch["reference"]).sum(1)))
    loss, _ = jax.jit(bt2_loss(reference=2.0, classes=7.0, matching=4.0))(out, batch)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


def test_bct_asks_the_old_dimensions_of_the_unit_embedding_to_be_compatible():
    batch = batch_for(4, 6)
    model = compiled(from_linen(EmbeddingHead(6, CLASSES)))
    params, state = model.init(KEY, batch["inputs"])
    out, _ = model.apply(params, state, batch["inputs"])
    phi = np.asarray(out["embedding"], np.float64)
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1, atol=1e-5)
    target = 0.9 * np.eye(CLASSES)[batch["labels"]] + 0.1 / CLASSES

    def entropy(logits):
        return -np.mean((target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1))

    logits = np.asarray(out["logits"], np.float64)
    old = phi[:, :4] @ batch["context"]["prototypes"].T
    loss, _ = jax.jit(bct_loss(4))(out, batch)
    assert float(loss) == pytest.approx(entropy(logits) + 10 * entropy(old), rel=1e-5)
    alone, _ = jax.jit(embedding_loss())(out, batch)
    assert float(alone) == pytest.approx(entropy(logits), rel=1e-5)


def test_a_basis_change_starts_at_a_random_or_at_no_rotation():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for identity in (True, False):
        y, _ = jax.jit(BasisChange(identity=identity).init_with_output)(KEY, x)
        y = np.asarray(y)
        np.testing.assert_allclose(y @ y.T, x @ x.T, atol=1e-5)
        assert np.allclose(y, x, atol=1e-6) == identity


def test_a_vector_of_zeros_has_no_direction_and_no_slope():
    x = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    np.testing.assert_allclose(normalized(x), [[0, 0], [0.6, 0.8]], atol=1e-7)
    assert np.isfinite(jax.jit(jax.jacobian(normalized))(x)).all()


@pytest.mark.parametrize(
    "sizes", [{"old": 9, "new": 6, "extra": 2}, {"old": 2, "new": 6, "extra": 3}]
)
def test_dimensions_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="extra <= old"):
        head(sizes)


def test_other_shapes_and_charts_are_refused():
    with pytest.raises(ValueError, match="square"):
        orthonormal(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match="chart"):
        orthonormal(jnp.zeros((2, 2)), "euler")
