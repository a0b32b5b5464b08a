"""The GPU kernels on a real GPU, wherever one is at hand: equal to float64 there."""

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.block_sparse.shapes import BENCH, ODD

from . import block_sparse_cases as cases

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


@pytest.mark.parametrize("shape", [*ODD[3:], BENCH[0]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_odd_sizes(shape, dtype):
    given = cases.drawn(shape, dtype)
    expected = cases.exact(*given)
    for implementation in ("gpu", None):
        # products of float32 keep ten bits there by default
        assert cases.furthest(cases.run(implementation, *given), expected) < 4e-2, implementation
