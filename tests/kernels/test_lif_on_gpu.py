"""The GPU kernels on a real GPU, wherever one is at hand: equal to the reference scan there."""

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.lif import Neuron, lif
from jaxlearn_kernels.lif.shapes import ODD

from . import combos
from .test_lif_kernels import TOLERANCE, agree

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", ODD, ids=lambda s: s.name)
def test_odd_shapes(shape, dtype):
    for seed, neuron in enumerate(combos.sample(2, len(shape.name))):
        agree(neuron, ("gpu", "scan", None), shape.full, dtype, seed)


@pytest.mark.parametrize("neuron", combos.sample(12, 11), ids=str)
def test_sampled_options(neuron):
    agree(neuron, ("gpu",), (5, 2, 3), jnp.float32)
    agree(neuron, ("gpu",), (3, 129), jnp.bfloat16)


def test_the_kernel_is_chosen_and_the_same_bits_come_back():
    x = jax.random.normal(jax.random.key(0), (16, 4, 1000))
    run = jax.jit(jax.grad(lambda x: (lif(x, neuron=Neuron())[0] * x).sum()))
    assert "triton" in run.lower(x).compile().as_text().lower()
    assert jnp.array_equal(run(x), run(x))


def test_int8_spikes_are_the_same_spikes():
    x = jax.random.normal(jax.random.key(1), (16, 4, 1000))
    spikes, v = lif(x, neuron=Neuron(), implementation="gpu")
    narrow, same = lif(x, neuron=Neuron(), implementation="gpu", spike_dtype=jnp.int8)
    assert narrow.dtype == jnp.int8
    assert jnp.array_equal(narrow, spikes)
    assert jnp.array_equal(same, v)
