"""The kernels through the real TPU compiler and the CUDA lowering, without either device."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlearn_kernels.block_sparse import block_sparse_matmul
from jaxlearn_kernels.block_sparse.shapes import BENCH, ODD, Shape

from . import cuda
from .cuda import TRITON

TPU_CALL = 'custom_call_target="tpu_custom_call"'
NARROW = Shape("blocks without lanes", 64, 4, 4, (8, 8))


@pytest.fixture(scope="session")
def tpu():
    pytest.importorskip("libtpu")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return SingleDeviceSharding(topology.devices[0])


def arguments(shape, dtype, sharding=None):
    array = lambda size, dtype=dtype: jax.ShapeDtypeStruct(size, dtype, sharding=sharding)
    n, m = shape.high * shape.block[0], shape.wide * shape.block[1]
    mask = array((shape.high, shape.wide), jnp.bool_)
    return array((shape.rows, n)), array((n, m)), mask, array((shape.rows, m))


def forward(x, w, mask, dy):
    return block_sparse_matmul(x, w, mask)


def gradient(x, w, mask, dy):
    return jax.vjp(lambda x, w: block_sparse_matmul(x, w, mask), x, w)[1](dy)


def compile_tpu(f, shape, dtype, sharding):
    traced = jax.jit(f).trace(*arguments(shape, dtype, sharding))
    return traced.lower(lowering_platforms=("tpu",)).compile()


def lower_cuda(f, shape, dtype) -> str:
    return cuda.lowered(f, *arguments(shape, dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_one_kernel_for_each_product(tpu, dtype):
    for f, kernels in ((forward, 1), (gradient, 2)):
        text = compile_tpu(f, ODD[4], dtype, tpu).as_text()
        assert text.count(TPU_CALL) == kernels
        assert "convolution(" not in text  # nor any product beside them


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD[4:], *BENCH], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_every_size(tpu, shape, dtype):
    assert compile_tpu(gradient, shape, dtype, tpu).as_text().count(TPU_CALL) == 2


def test_blocks_without_lanes_are_left_to_the_dense_product(tpu):
    assert TPU_CALL not in compile_tpu(forward, NARROW, jnp.float32, tpu).as_text()
    assert TRITON not in lower_cuda(forward, NARROW, jnp.float32)


def test_masked_kernels_are_not_laid_out_on_tpu(tpu):
    """The dense product writes the masked kernel; the sparse one reads w as it lies."""
    shape = BENCH[0]
    memory = compile_tpu(forward, shape, jnp.float32, tpu).memory_analysis()
    assert memory.temp_size_in_bytes < shape.high * shape.wide * 128 * 128 * 4 / 10


@pytest.mark.parametrize("shape", [ODD[3], ODD[4], BENCH[0]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cuda_lowers(shape, dtype):
    assert lower_cuda(forward, shape, dtype).count(TRITON) == 1
    assert lower_cuda(gradient, shape, dtype).count(TRITON) == 2
