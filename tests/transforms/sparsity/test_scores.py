"""Scores against double precision and finite differences of the papers' definitions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.tiny import tiny_batch, tiny_stack
from jaxlearn.objectives import cross_entropy
from jaxlearn.rules import backprop
from jaxlearn.transforms.sparsity import scores
from jaxlearn.transforms.sparsity.keep import keep_per_output

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((9, 4)), RNG.standard_normal((9, 2))
PARAMS = {"a": RNG.standard_normal((4, 3)), "b": RNG.standard_normal((3, 2))}
SINGLE = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), PARAMS)


def loss(params, xp=jnp):
    """Mean squared error of two layers of tanh."""
    return xp.mean((xp.tanh(xp.tanh(X @ params["a"]) @ params["b"]) - Y) ** 2)


def slope(f, params, name, place, eps):
    """A central difference, in double precision."""
    moved = {}
    for sign in (-1, 1):
        shifted = {key: leaf.copy() for key, leaf in params.items()}
        shifted[name][place] += sign * eps
        moved[sign] = f(shifted)
    return (moved[1] - moved[-1]) / (2 * eps)


def differences(f, params, eps=1e-5):
    """The gradient by central differences."""
    return {
        name: np.array([slope(f, params, name, i, eps) for i in np.ndindex(*leaf.shape)]).reshape(
            leaf.shape
        )
        for name, leaf in params.items()
    }


numeric = partial(loss, xp=np)
GRADIENT = differences(numeric, PARAMS)
close = partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-5)


def test_gradient_and_snip_are_finite_differences():
    """Taking w to (1 - c) w changes the loss at the rate w dL/dw: what SNIP ranks by."""
    found = scores.snip(jax.grad(loss))(SINGLE)
    plain = scores.gradient(jax.grad(loss))(SINGLE)
    for name, leaf in PARAMS.items():
        close(found[name], np.abs(leaf * GRADIENT[name]))
        close(plain[name], np.abs(GRADIENT[name]))

    def shrunk(c):
        return numeric({"a": PARAMS["a"] * (1 - c), "b": PARAMS["b"]})

    together = (shrunk(-1e-5) - shrunk(1e-5)) / 2e-5
    close(np.sum(PARAMS["a"] * GRADIENT["a"]), together)


def test_grasp_is_the_change_of_the_squared_norm_of_the_gradient():
    """`w d/dw (|g|^2 / 2)` by differences of differences."""

    def half_norm(params):
        found = differences(numeric, params, 1e-4)
        return sum(np.sum(leaf**2) for leaf in found.values()) / 2

    curved = differences(half_norm, PARAMS, 1e-3)
    found = scores.grasp(jax.grad(loss))(SINGLE)
    for name, leaf in PARAMS.items():
        np.testing.assert_allclose(found[name], leaf * curved[name], rtol=1e-2, atol=1e-4)
    assert any((np.asarray(leaf) < 0).any() for leaf in found.values())


def test_scores_of_a_rule_are_those_of_its_signal():
    rule, batch, key = backprop(tiny_stack(), cross_entropy), tiny_batch(), jax.random.key(3)
    params, state = jax.jit(rule.init)(key, batch)
    grads = jax.jit(rule.signal)(params, state, batch, key)[0]
    found = jax.jit(scores.snip(scores.gradient_of(rule, batch)))(params)
    jax.tree.map(
        lambda s, w, g: np.testing.assert_allclose(s, np.abs(w * g), rtol=1e-5, atol=1e-7),
        found,
        params,
        grads,
    )


def test_random_scores_come_from_their_key():
    draw = lambda seed: scores.random(jax.random.key(seed))(SINGLE)
    jax.tree.map(np.testing.assert_array_equal, draw(0), draw(0))
    assert not np.array_equal(draw(0)["a"], draw(1)["a"])


def test_wanda_removes_what_changes_the_outputs_least():
    """With inputs that are orthogonal, dropping w_ij adds exactly score^2 to the squared error."""
    inputs = np.linalg.qr(RNG.standard_normal((8, 4)))[0] * np.array([0.1, 1.0, 3.0, 10.0])
    weight = RNG.standard_normal((4, 3))
    found = np.asarray(scores.wanda(jnp.asarray(weight), jnp.linalg.norm(inputs, axis=0)))
    for i, j in np.ndindex(4, 3):
        less = weight.copy()
        less[i, j] = 0
        np.testing.assert_allclose(
            np.sum((inputs @ weight - inputs @ less) ** 2), found[i, j] ** 2, rtol=1e-4
        )
    mask = np.asarray(keep_per_output(jnp.asarray(found), 0.5))
    assert mask.sum(0).tolist() == [2, 2, 2]
    for j in range(3):
        assert found[mask[:, j], j].min() > found[~mask[:, j], j].max()


def test_wanda_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"wanda needs a weight \[inputs, outputs\]"):
        scores.wanda(jnp.ones((3, 2)), jnp.ones(4))
