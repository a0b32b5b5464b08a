"""The GPU kernel on a real GPU, wherever one is at hand: equal to float64 there."""

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.quadratic.shapes import BENCH, ODD

from . import quadratic_cases as cases

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


@pytest.mark.parametrize("shape", [*ODD, BENCH[0]], ids=lambda s: s.name)
@pytest.mark.parametrize("form", list(cases.FORMS))
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_odd_sizes(shape, form, dtype):
    given = cases.drawn(shape, form, dtype)
    expected = cases.exact(*given)
    for implementation in ("gpu", None):
        for recompute in (False, True):
            found = cases.run(implementation, *given, recompute=recompute)
            # products of float32 keep ten bits there by default
            assert cases.furthest(found, expected) < 4e-2, (implementation, recompute)
