"""Weight noise against its closed form on a linear model, where the signal is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import Rule
from jaxlearn.rules.weight_noise import weight_noise

SIGMA = 0.3


def quadratic() -> Rule:
    """Loss `|theta|^2 / 2`, so that the signal is the place it was taken at."""
    init = lambda key, batch: ({"a": jnp.ones(40_000), "b": -jnp.ones((200, 200))}, {})
    signal = lambda params, state, batch, key: (params, state, {"loss": jnp.float32(0)})
    return Rule(init, signal, lambda params, state, batch: (params, state))


def signal_of(sigma, seed=0):
    rule = weight_noise(quadratic(), sigma)
    params, state = rule.init(jax.random.key(1), {})
    return jax.jit(rule.signal)(params, state, {}, jax.random.key(seed))[0], params


def test_the_signal_is_taken_at_gaussian_distance():
    grads, params = signal_of(SIGMA)
    moves = [np.ravel(grads[name] - params[name]) for name in ("a", "b")]
    for move in moves:
        assert abs(move.mean()) < 4 * SIGMA / np.sqrt(move.size)
        # the variance of a sample variance is 2 sigma^4 / n
        assert abs(move.var() - SIGMA**2) < 4 * SIGMA**2 * np.sqrt(2 / move.size)
    assert abs(np.corrcoef(*moves)[0, 1]) < 4 / np.sqrt(moves[0].size)


def test_steps_draw_anew_and_a_key_draws_the_same():
    first, again, other = (signal_of(SIGMA, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first["a"], again["a"])
    assert abs(np.corrcoef(first["a"], other["a"])[0, 1]) < 4 / np.sqrt(40_000)


def test_predictions_and_zero_noise_are_the_rule_s_own():
    rule = quadratic()
    assert weight_noise(rule, 0) is rule
    assert weight_noise(rule, 1).predict is rule.predict


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="sigma must not be negative, found -1"):
        weight_noise(quadratic(), -1)
