"""Losses towards targets, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.objectives.target_losses import (
    LOSSES,
    Projected,
    alignment,
    huber,
    nearness,
    target_of,
    to_target,
)

DRAW = np.random.default_rng(0)
T, Y = DRAW.uniform(size=(4, 2, 3)), DRAW.normal(size=(4, 2, 3))


def _huber(r, delta=1.0):
    r = np.abs(r)
    return np.where(r < delta, r**2 / 2, delta * (r - delta / 2))


def _cosine(t, y):
    t, y = t.reshape(len(t), -1), y.reshape(len(y), -1)
    return (t * y).sum(1) / np.linalg.norm(t, axis=1) / np.linalg.norm(y, axis=1)


def _bce(t, y):
    p = 1 / (1 + np.exp(-y))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


WANTED = {
    "l2": ((T - Y) ** 2 / 2).sum((1, 2)),
    "l1": np.abs(T - Y).sum((1, 2)),
    "huber": _huber(T - Y).sum((1, 2)),
    "cosine": 1 - _cosine(T, Y),
    "bce": _bce(T, Y).sum((1, 2)),
    "linear": -(T * Y).sum((1, 2)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_slopes(name):
    """The slope by differences: one step along a direction, both sides."""
    loss = LOSSES[name]
    np.testing.assert_allclose(
        loss(jnp.asarray(T), jnp.asarray(Y)), WANTED[name], rtol=1e-5, atol=1e-6
    )
    direction = jnp.asarray(DRAW.normal(size=Y.shape), jnp.float32)
    along = lambda s: loss(jnp.asarray(T), jnp.asarray(Y) + s * direction).sum()
    slope = jax.grad(along)(0.0)
    np.testing.assert_allclose(slope, (along(1e-2) - along(-1e-2)) / 2e-2, rtol=2e-2, atol=1e-2)


def test_huber_bends_at_delta():
    r = jnp.linspace(-3, 3, 13)[:, None]
    np.testing.assert_allclose(huber(0.5)(r, 0 * r), _huber(np.asarray(r), 0.5)[:, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="delta must be positive"):
        huber(0.0)


def test_targets_of_labels_of_distributions_and_of_channels():
    codes = jnp.asarray(DRAW.normal(size=(3, 1, 2)))
    outputs = jnp.zeros((2, 4, 2))
    found = target_of(Projected(outputs, codes), {"labels": jnp.array([2, 0])})
    np.testing.assert_array_equal(found, np.broadcast_to(codes[jnp.array([2, 0])], (2, 4, 2)))
    soft = jnp.array([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]])
    mixed = target_of(Projected(outputs, codes), {"labels": soft})
    np.testing.assert_allclose(mixed[0, 3], 0.25 * codes[0, 0] + 0.75 * codes[1, 0], rtol=1e-6)


def test_weights_count_in_loss_and_alignment():
    codes, y = jnp.asarray(DRAW.normal(size=(3, 5))), jnp.asarray(DRAW.normal(size=(2, 5)))
    batch = {"labels": jnp.array([1, 2]), "weight": jnp.array([2.0, 0.0])}
    loss, metrics = to_target(LOSSES["l1"])(Projected(y, codes), batch)
    np.testing.assert_allclose(loss, np.abs(codes[1] - y[0]).sum(), rtol=1e-6)
    np.testing.assert_allclose(metrics["alignment"], _cosine(codes[1:2], y[:1])[0], rtol=1e-5)
    assert float(alignment(jnp.zeros((1, 3)), jnp.ones((1, 3)))[0]) == 0


@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 1, 4)])
def test_nearness_is_the_squared_distance_to_every_code(shape):
    codes, y = DRAW.normal(size=shape), DRAW.normal(size=(5, 2, 4))
    wanted = -((y[:, None] - codes[None]) ** 2).sum((2, 3))
    found = nearness(Projected(jnp.asarray(y), jnp.asarray(codes)))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
