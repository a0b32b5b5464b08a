"""The kernels through the real TPU compiler and the CUDA lowering, without either device."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from jaxlearn_kernels.lif import SURROGATES, Neuron, lif
from jaxlearn_kernels.lif.shapes import BENCH, LONG, ODD

from . import combos, cuda
from .cuda import TRITON


@pytest.fixture(scope="session")
def tpu():
    pytest.importorskip("libtpu")
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return SingleDeviceSharding(topology.devices[0])


def forward(neuron, implementation=None):
    return lambda x: lif(x, neuron=neuron, implementation=implementation)


def vjp(neuron, implementation=None):
    def f(x):
        outputs, pull = jax.vjp(forward(neuron, implementation), x)
        return outputs, pull(outputs)

    return f


def compile_tpu(f, shape, dtype, sharding):
    x = jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
    return jax.jit(f).trace(x).lower(lowering_platforms=("tpu",)).compile()


def lower_cuda(f, shape, dtype) -> str:
    return cuda.lowered(f, jax.ShapeDtypeStruct(shape, dtype))


@pytest.mark.parametrize("shape", [ODD[4], LONG[0]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles(tpu, shape, dtype):
    text = compile_tpu(vjp(Neuron()), shape.full, dtype, tpu).as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2
    assert "conditional(" not in text


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD, *LONG, *BENCH], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_tpu_compiles_every_shape(tpu, shape, dtype):
    for f, calls in ((forward, 1), (vjp, 2)):
        text = compile_tpu(f(Neuron()), shape.full, dtype, tpu).as_text()
        assert text.count('custom_call_target="tpu_custom_call"') == calls


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
def test_every_surrogate_lowers(tpu, surrogate):
    neuron = Neuron(surrogate=surrogate, reset="hard", v_reset=-0.1, input_decay=True)
    text = compile_tpu(vjp(neuron), (3, 8, 128), jnp.float32, tpu).as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 2
    assert lower_cuda(vjp(neuron), (3, 8, 128), jnp.float32).count(TRITON) == 2


@pytest.mark.slow
def test_every_option_lowers(tpu):
    for neuron in combos.every_neuron():
        compile_tpu(vjp(neuron), (3, 8, 128), jnp.float32, tpu)
        lower_cuda(vjp(neuron), (3, 8, 128), jnp.float32)


@pytest.mark.parametrize("shape", [ODD[0], ODD[3], LONG[1]], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cuda_lowers(shape, dtype):
    assert lower_cuda(forward(Neuron()), shape.full, dtype).count(TRITON) == 1
    assert lower_cuda(vjp(Neuron()), shape.full, dtype).count(TRITON) == 2


def int8(x):
    return lif(x, neuron=Neuron(), spike_dtype=jnp.int8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_int8_spikes_take_one_byte_each(tpu, dtype):
    """Bytes the TPU compiler counts, and the lowering for CUDA."""
    shape = BENCH[0].full
    least = shape[0] * shape[1] * shape[2] * (jnp.dtype(dtype).itemsize + 1)
    compiled = compile_tpu(int8, shape, dtype, tpu)
    assert compiled.as_text().count('custom_call_target="tpu_custom_call"') == 1
    assert least <= compiled.cost_analysis()["bytes accessed"] < 1.05 * least
    assert lower_cuda(int8, shape, dtype).count(TRITON) == 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*ODD, *LONG, *BENCH], ids=lambda s: s.name)
def test_int8_spikes_compile_at_every_shape(tpu, shape):
    text = compile_tpu(int8, shape.full, jnp.float32, tpu).as_text()
    assert text.count('custom_call_target="tpu_custom_call"') == 1


def test_cpu_gets_no_kernel():
    text = jax.jit(vjp(Neuron())).lower(jnp.ones((3, 4))).compile().as_text()
    assert "custom-call" not in text
    assert "conditional(" not in text


def test_float16_on_tpu_falls_back_to_the_scan(tpu):
    text = compile_tpu(forward(Neuron()), (3, 8, 128), jnp.float16, tpu).as_text()
    assert "tpu_custom_call" not in text


def test_tpu_kernel_moves_the_minimum(tpu):
    """Bytes the compiler counts: input and spikes once, and no buffer beside them."""
    shape = BENCH[0].full
    size = 4 * shape[0] * shape[1] * shape[2]
    compiled = compile_tpu(forward(Neuron()), shape, jnp.float32, tpu)
    moved = compiled.cost_analysis()["bytes accessed"]
    assert 2 * size <= moved < 2.05 * size
    assert compiled.memory_analysis().temp_size_in_bytes < 0.05 * size


def test_tpu_kernel_keeps_one_residual_where_the_scan_keeps_three(tpu):
    """Temporary bytes of forward and backward, hard reset; too large to hide in VMEM."""
    shape = (2000, 32, 512)
    size = 4 * shape[0] * shape[1] * shape[2]
    temp = {
        name: compile_tpu(vjp(Neuron(reset="hard"), name), shape, jnp.float32, tpu)
        .memory_analysis()
        .temp_size_in_bytes
        for name in ("reference", None)
    }
    assert temp[None] < 1.1 * size
    assert temp["reference"] > 2 * temp[None], temp
