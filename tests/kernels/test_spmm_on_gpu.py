"""The GPU kernel on a real GPU, wherever one is at hand: equal to the reference there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.spmm import pallas_gpu, spmm
from jaxlearn_kernels.spmm.shapes import ODD, random_graph

from . import spmm_cases as cases
from .test_spmm_kernels import EVERY, forward_agrees

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


@pytest.mark.parametrize("shape", [s for s in ODD if s.entries], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_odd_sizes_and_options(shape, dtype, tolerance):
    for given, options in enumerate(EVERY[-2:]):
        forward_agrees(pallas_gpu.forward, shape, options, dtype, bool(given), tolerance)


def test_gradients_are_those_of_the_dense_formula():
    rng = np.random.default_rng(2)
    draws = [rng.integers(0, cases.ROWS, 300), rng.integers(0, cases.COLUMNS, 300)]
    entries = cases.Entries(*draws, rng.normal(size=300))
    cases.against_oracle(entries, None, cases.FULL, 3e-4)


def test_the_kernel_is_chosen_and_the_same_bits_come_back():
    matrix = random_graph(ODD[5]._replace(rows=5000, columns=5000, entries=60_000))
    x = jax.random.normal(jax.random.key(0), (5000, 128))
    run = jax.jit(jax.grad(lambda x: jnp.sum(spmm(matrix, x, epilogue=cases.FULL)[0] * x)))
    assert "triton" in run.lower(x).compile().as_text().lower()
    assert jnp.array_equal(run(x), run(x))
