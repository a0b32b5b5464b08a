"""The kernels through the real TPU compiler and the CUDA lowering, without either device."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlearn_kernels.wkv import WkvState, wkv
from jaxlearn_kernels.wkv.bench import minimal_bytes
from jaxlearn_kernels.wkv.shapes import BENCH, LONG, ODD, Shape

from . import cuda
from .cuda import TRITON

TPU_CALL = 'custom_call_target="tpu_custom_call"'


@pytest.fixture(scope="session")
def tpu():
    pytest.importorskip("libtpu")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return SingleDeviceSharding(topology.devices[0])


def arguments(shape, dtype, sharding=None):
    array = lambda size, dtype: jax.ShapeDtypeStruct(size, dtype, sharding=sharding)
    sequence, channel = array(shape.full, dtype), array((shape.channels,), jnp.float32)
    state = WkvState(*[array(shape.features, jnp.float32)] * 3)
    return sequence, sequence, channel, channel, state


def forward(*given, implementation=None):
    return wkv(*given, implementation=implementation)


def vjp(*given, implementation=None):
    outputs, pull = jax.vjp(lambda *a: forward(*a, implementation=implementation), *given)
    return outputs, pull(outputs)


def compile_tpu(f, shape, dtype, sharding):
    traced = jax.jit(f).trace(*arguments(shape, dtype, sharding))
    return traced.lower(lowering_platforms=("tpu",)).compile()


def lower_cuda(f, shape, dtype) -> str:
    return cuda.lowered(f, *arguments(shape, dtype))


@pytest.mark.parametrize("shape", [ODD[0], ODD[3], LONG[0]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles(tpu, shape, dtype):
    text = compile_tpu(vjp, shape, dtype, tpu).as_text()
    assert text.count(TPU_CALL) == 2
    assert "conditional(" not in text


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD, *LONG, *BENCH], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_every_shape(tpu, shape, dtype):
    for f, calls in ((forward, 1), (vjp, 2)):
        assert compile_tpu(f, shape, dtype, tpu).as_text().count(TPU_CALL) == calls


@pytest.mark.parametrize("shape", [ODD[1], ODD[6], LONG[1]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cuda_lowers(shape, dtype):
    assert lower_cuda(forward, shape, dtype).count(TRITON) == 1
    assert lower_cuda(vjp, shape, dtype).count(TRITON) == 2


def test_cpu_gets_no_kernel():
    text = jax.jit(vjp).lower(*arguments(ODD[0], jnp.float32)).compile().as_text()
    assert "tpu_custom_call" not in text
    assert "triton" not in text
    assert "conditional(" not in text


def test_float16_on_tpu_falls_back_to_the_scan(tpu):
    text = compile_tpu(forward, ODD[3], jnp.float16, tpu).as_text()
    assert TPU_CALL not in text


def test_tpu_kernel_moves_the_minimum(tpu):
    """Bytes the compiler counts: k, v and y once and the state, and no buffer beside them."""
    shape = Shape("", 1024, (16,), 512)
    least = minimal_bytes(shape, 4, gradient=False)
    compiled = compile_tpu(forward, shape, jnp.float32, tpu)
    assert least <= compiled.cost_analysis()["bytes accessed"] < 1.05 * least
    assert compiled.memory_analysis().temp_size_in_bytes < 0.05 * least


def test_tpu_kernel_keeps_few_arrays_where_the_scan_keeps_many(tpu):
    """Temporary bytes of forward and backward; too large to hide in VMEM."""
    shape = Shape("", 1000, (32,), 512)
    temp = {}
    for name in ("reference", None):
        f = lambda *a, name=name: vjp(*a, implementation=name)
        analysis = compile_tpu(f, shape, jnp.float32, tpu).memory_analysis()
        temp[name] = analysis.temp_size_in_bytes / (4 * 1000 * 32 * 512)
    assert temp[None] < 2.1  # log D, and the rest is arguments and results
    assert temp["reference"] > 4 * temp[None], temp
