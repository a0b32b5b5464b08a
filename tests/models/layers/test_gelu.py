"""The exact GELU, and that the bottleneck adapter has it; the encoder has a test of its own."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from jaxlearn.models.layers.adapters import BottleneckAdapter
from jaxlearn.models.layers.gelu import gelu

X = np.linspace(-6, 6, 241, dtype=np.float32)
EXACT = 0.5 * X * (1 + erf(X / np.sqrt(2)))


def test_it_is_x_times_the_normal_distribution():
    np.testing.assert_allclose(gelu(X), EXACT, rtol=1e-5, atol=1e-6)
    approximated = jax.nn.gelu(X, approximate=True)
    assert np.abs(approximated - EXACT).max() > 1e-4, "the bound above tells the two apart"


def test_the_bottleneck_has_it():
    one, zero = jnp.ones((1, 1)), jnp.zeros(1)
    params = {"down": {"kernel": one, "bias": zero}, "up": {"kernel": one, "bias": zero}}
    found = BottleneckAdapter(1).apply({"params": params}, X[:, None])
    np.testing.assert_allclose(found[:, 0], X + EXACT, rtol=1e-5, atol=2e-6)
