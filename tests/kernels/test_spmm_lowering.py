"""The kernels through the real TPU compiler and the CUDA lowering, without either device."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlearn_kernels.spmm import Pattern, Sparse, pallas_gpu, spmm
from jaxlearn_kernels.spmm.shapes import BENCH, ODD, Shape

from . import cuda
from . import spmm_cases as cases
from .cuda import TRITON

TPU_CALL = 'custom_call_target="tpu_custom_call"'
SMALL = Shape("a few blocks", 1000, 900, 9000, 128)
LARGE = Shape("messages too large to hide in VMEM", 10_000, 10_000, 400_000, 128)


@pytest.fixture(scope="session")
def tpu():
    pytest.importorskip("libtpu")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return SingleDeviceSharding(topology.devices[0])


def arguments(shape: Shape, dtype, sharding=None):
    """Shapes of matrix, x, scale and bias."""

    def array(kind, *size):
        return jax.ShapeDtypeStruct(size, kind, sharding=sharding)

    def pattern(height):
        whole = array(jnp.int32, shape.entries)
        return Pattern(array(jnp.int32, height + 1), whole, whole)

    matrix = Sparse(
        pattern(shape.rows),
        pattern(shape.columns),
        array(jnp.int32, shape.entries),
        array(jnp.float32, shape.entries),
    )
    x = array(dtype, shape.columns, shape.width)
    return matrix, x, array(jnp.float32, shape.rows), array(dtype, shape.width)


def forward(matrix, x, scale, bias, implementation=None):
    return spmm(
        matrix,
        x,
        epilogue=cases.FULL,
        scale=scale,
        bias=bias,
        implementation=implementation,
    )


def plain(matrix, x, scale, bias, implementation=None):
    return spmm(matrix, x, implementation=implementation)


def vjp(matrix, x, scale, bias, implementation=None):
    """Gradients of values, x and bias: attention's."""
    f = lambda v, x, b: forward(matrix._replace(values=v), x, scale, b, implementation)
    outputs, pull = jax.vjp(f, matrix.values, x, bias)
    return outputs, pull(outputs)


def compile_tpu(f, shape, dtype, sharding, implementation="tpu"):
    f = functools.partial(f, implementation=implementation)
    traced = jax.jit(f).trace(*arguments(shape, dtype, sharding))
    return traced.lower(lowering_platforms=("tpu",)).compile()


def lower_cuda(f, shape, dtype) -> str:
    return cuda.lowered(f, *arguments(shape, dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_and_scatters_nothing(tpu, dtype):
    text = compile_tpu(vjp, SMALL, dtype, tpu).as_text()
    assert text.count(TPU_CALL) == 2
    assert " scatter(" not in text
    assert "conditional(" not in text


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD, *BENCH], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_every_size(tpu, shape, dtype):
    text = compile_tpu(vjp, shape, dtype, tpu).as_text()
    assert text.count(TPU_CALL) == (2 if shape.entries else 0)


@pytest.mark.slow
def test_tpu_compiles_the_widest_call(tpu):
    assert compile_tpu(forward, SMALL._replace(width=2048), jnp.float32, tpu)


def test_tpu_kernel_has_no_messages_between(tpu):
    """Temporaries: x and the entries in lines, nothing of ``[E, d]``."""
    memory = compile_tpu(plain, LARGE, jnp.float32, tpu).memory_analysis()
    in_lines = 4 * LARGE.columns * LARGE.width + 3 * 4 * LARGE.entries
    assert memory.temp_size_in_bytes < 1.1 * in_lines
    assert in_lines < 0.1 * 4 * LARGE.entries * LARGE.width


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cuda_lowers_without_scatter(dtype):
    text = lower_cuda(vjp, SMALL, dtype)
    assert text.count(TRITON) == 4  # both directions, and the long rows of each
    assert "scatter" not in text


def test_cuda_takes_rows_wider_than_a_program():
    assert lower_cuda(forward, SMALL._replace(width=1300), jnp.float32).count(TRITON) == 2


def test_cuda_runs_one_kernel_where_no_row_can_be_long():
    few = SMALL._replace(entries=pallas_gpu.BLOCK)
    assert lower_cuda(forward, few, jnp.float32).count(TRITON) == 1


def test_tpu_gets_sorted_segment_sums_unless_the_kernel_is_named(tpu):
    """Its compiler fuses them: nothing of ``[E, d]`` is kept between gather and sum."""
    compiled = compile_tpu(plain, LARGE, jnp.float32, tpu, None)
    assert TPU_CALL not in compiled.as_text()
    messages = 4 * LARGE.entries * LARGE.width
    assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * messages


def test_cpu_gets_the_library_product_forward_and_backward():
    compiled = jax.jit(vjp).lower(*arguments(SMALL, jnp.float32)).compile()
    text = compiled.as_text()
    assert text.count('custom_call_target="cpu_csr') == 2
    assert " scatter(" not in text
