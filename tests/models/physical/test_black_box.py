"""Physics that is never differentiated, that stands on the host, or that has a twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.physical.black_box import (
    black_box,
    on_host,
    percentile_scale,
    physics_aware,
)


@jax.custom_jvp
def brittle(x):
    """A system whose derivative must not be asked for."""
    return jnp.sin(x)


@brittle.defjvp
def _(primals, tangents):
    raise AssertionError("someone asked for the derivative of the physics")


X = jnp.linspace(-1, 1, 12).reshape(4, 3)


def test_a_black_box_is_a_constant_whose_derivative_is_never_asked_for():
    with pytest.raises(AssertionError, match="derivative"):
        jax.grad(lambda x: brittle(x).sum())(X)
    closed = black_box(brittle)
    np.testing.assert_allclose(closed(X), np.sin(X), rtol=1e-6)
    slope = jax.jit(jax.grad(lambda x: (closed(x) * x).sum()))(X)
    np.testing.assert_allclose(slope, np.sin(X), rtol=1e-6)


def test_a_device_is_measured_once_for_all_copies_of_a_vmap():
    calls = []

    def measure(x):
        calls.append(x.shape)
        return x[:, :2] ** 2

    device = on_host(measure, 2)
    stacked = jnp.stack([X, 2 * X])
    found = jax.jit(jax.vmap(device))(stacked)
    np.testing.assert_allclose(found, stacked[..., :2] ** 2)
    assert calls == [(8, 3)]


def test_a_device_has_no_derivative_unless_it_is_closed():
    device = on_host(lambda x: x, 3)
    with pytest.raises(ValueError, match="JVP"):
        jax.grad(lambda x: device(x).sum())(X)
    slope = jax.grad(lambda x: (black_box(device)(x) * x).sum())(X)
    np.testing.assert_allclose(slope, X)


@pytest.mark.parametrize(
    "measure, match",
    [(lambda x: x[:, :2], r"shape \(4, 2\)"), (lambda x: x * np.nan, "not finite")],
)
def test_bad_measurements_stop_the_program(measure, match):
    with pytest.raises(Exception, match=match):
        jax.block_until_ready(jax.jit(on_host(measure, 3))(X))


def test_physics_aware_training_goes_forward_through_one_and_back_through_the_other():
    aware = physics_aware(brittle, lambda x: x**3)
    weights = jnp.arange(12.0).reshape(4, 3)
    value, slope = jax.value_and_grad(lambda x: (weights * aware(x)).sum())(X)
    np.testing.assert_allclose(value, (weights * np.sin(X)).sum(), rtol=1e-6)
    np.testing.assert_allclose(slope, weights * 3 * X**2, rtol=1e-6)


def test_the_scale_of_measurements_ignores_outliers():
    measured = np.random.default_rng(0).exponential(size=(100, 10))
    spoiled = measured.copy()
    spoiled[0, 0] = 1e6
    assert abs(percentile_scale(spoiled) / percentile_scale(measured) - 1) < 0.01
    assert np.isclose((measured * percentile_scale(measured) <= 1).mean(), 0.94, atol=0.002)
    with pytest.raises(ValueError, match="nothing to scale"):
        percentile_scale(np.zeros(5))
