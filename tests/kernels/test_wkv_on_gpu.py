"""The GPU kernels on a real GPU, wherever one is at hand: equal to the reference scan there."""

import jax
import jax.numpy as jnp
import pytest
from jaxlearn_kernels.wkv import wkv
from jaxlearn_kernels.wkv.shapes import BENCH, ODD

from . import wkv_cases as cases
from .test_wkv_kernels import TOLERANCE, agree

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", [*ODD, BENCH[0]], ids=lambda s: s.name)
def test_odd_shapes(shape, dtype):
    agree(("gpu", "scan", None), shape, dtype, len(shape.name))


def test_keys_of_80():
    case = cases.drawn(ODD[-1], seed=1)
    case = case._replace(k=80 * jnp.sign(case.k))
    cases.compare(cases.run("gpu", case), cases.exact(case), 1e-4)


def test_the_kernel_is_chosen_and_the_same_bits_come_back():
    k, v, w, u, *_ = cases.drawn(BENCH[0])
    run = jax.jit(jax.grad(lambda k: (wkv(k, v, w, u)[0] * v).sum()))
    assert "triton" in run.lower(k).compile().as_text().lower()
    assert jnp.array_equal(run(k), run(k))
