"""The kernels through the real TPU compiler and the CUDA lowering, without either device."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlearn_kernels.quadratic import Branch, quadratic
from jaxlearn_kernels.quadratic.bench import minimal_bytes
from jaxlearn_kernels.quadratic.shapes import BENCH, ODD

from . import cuda
from . import quadratic_cases as cases
from .cuda import TRITON

TPU_CALL = 'custom_call_target="tpu_custom_call"'


@pytest.fixture(scope="session")
def tpu():
    pytest.importorskip("libtpu")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return SingleDeviceSharding(topology.devices[0])


def arguments(shape, form, dtype, sharding=None):
    array = lambda *size: jax.ShapeDtypeStruct(size, dtype, sharding=sharding)
    n, m = shape.inputs, shape.outputs
    branches = {k: Branch(array(n, m), array(m)) for k in cases.FORMS[form]}
    return array(shape.rows, n), branches, array(shape.rows, m)


def forward(x, branches, dy, implementation=None):
    return quadratic(x, **branches, implementation=implementation)


def both(recompute, x, branches, dy):
    y, pull = jax.vjp(
        lambda x, branches: quadratic(x, **branches, recompute=recompute), x, branches
    )
    return y, pull(dy)


def gradient(x, branches, dy, implementation=None, recompute=True):
    f = lambda x, branches: quadratic(
        x, **branches, recompute=recompute, implementation=implementation
    )
    return jax.vjp(f, x, branches)[1](dy)


def compile_tpu(f, shape, form, dtype, sharding, **options):
    traced = jax.jit(partial(f, **options)).trace(*arguments(shape, form, dtype, sharding))
    return traced.lower(lowering_platforms=("tpu",)).compile()


def lower_cuda(f, shape, form, dtype) -> str:
    return cuda.lowered(f, *arguments(shape, form, dtype))


@pytest.mark.parametrize(
    ("form", "dtype"),
    [*((form, jnp.float32) for form in cases.FORMS), ("full", jnp.bfloat16)],
)
def test_tpu_compiles_one_kernel_for_each_direction(tpu, form, dtype):
    for f in (forward, gradient):
        text = compile_tpu(f, ODD[3], form, dtype, tpu).as_text()
        assert text.count(TPU_CALL) == 1
        assert "conditional(" not in text
        assert "convolution(" not in text  # nor any product beside it


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD, *BENCH], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("recompute", [False, True])
def test_tpu_compiles_every_size(tpu, shape, dtype, recompute):
    assert TPU_CALL in compile_tpu(forward, shape, "full", dtype, tpu).as_text()
    assert compile_tpu(gradient, shape, "full", dtype, tpu, recompute=recompute)


@pytest.mark.parametrize("form", list(cases.FORMS))
def test_cuda_lowers(form):
    assert lower_cuda(forward, ODD[2], form, jnp.float32).count(TRITON) == 1
    # the gradient of r g needs both, and a kernel that keeps them does not pay
    for recompute in (False, True):
        calls = lower_cuda(partial(both, recompute), ODD[4], form, jnp.bfloat16).count(TRITON)
        assert calls == int(recompute or form == "compact")


def test_cuda_gets_the_kernel_where_it_was_measured_to_pay():
    for shape, dtype, calls in (
        (ODD[2], jnp.float32, 1),
        (ODD[3], jnp.float32, 0),
        (ODD[3], jnp.bfloat16, 1),
        (ODD[5], jnp.bfloat16, 0),
    ):
        assert lower_cuda(forward, shape, "full", dtype).count(TRITON) == calls


def test_cpu_gets_no_kernel():
    x, branches, dy = arguments(ODD[4], "full", jnp.float32)
    text = jax.jit(gradient).lower(x, branches, dy).compile().as_text()
    assert "tpu_custom_call" not in text
    assert "triton" not in text
    assert "conditional(" not in text


def test_what_does_not_fit_or_is_a_single_product_is_left_to_the_compiler(tpu):
    wide = ODD[3]._replace(inputs=5000)
    for shape, form, dtype in ((wide, "full", jnp.float32), (ODD[3], "full", jnp.float16)):
        assert TPU_CALL not in compile_tpu(forward, shape, form, dtype, tpu).as_text()
    x, branches, dy = arguments(ODD[3], "compact", jnp.float32, tpu)
    alone = jax.jit(forward).trace(x, {"r": branches["r"]}, dy)
    assert TPU_CALL not in alone.lower(lowering_platforms=("tpu",)).compile().as_text()


@pytest.mark.parametrize("shape", BENCH[1:3], ids=lambda s: s.name)
def test_tpu_kernel_moves_the_minimum_and_the_compiler_more(tpu, shape):
    """Bytes that the compiler counts for its own products and for the kernel."""
    least = minimal_bytes(shape, 4)
    moved = {
        name: compile_tpu(
            forward, shape, "full", jnp.float32, tpu, implementation=name
        ).cost_analysis()["bytes accessed"]
        for name in (None, "reference")
    }
    assert least <= moved[None] < 1.05 * least
    assert moved["reference"] > 2 * moved[None], moved
