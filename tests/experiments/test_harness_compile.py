import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from experiments.harness import collectives, discover, tpu
from experiments.harness.experiment import Program
from tests.devices import run_on


def step(state, batch):
    """Sum the examples over devices, and the context without."""
    total = jax.lax.psum(batch["inputs"].sum(0), "data")
    return state + total + batch["context"]["shift"].sum(), {"seen": total[0]}


@pytest.fixture
def mesh():
    return Mesh(np.asarray(jax.devices()[:1]), ("data",))


def arrays(examples=4):
    inputs = jnp.arange(2.0 * examples).reshape(examples, 2)
    return {"inputs": inputs, "context": {"shift": jnp.ones(3)}}


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@pytest.mark.parametrize("examples, devices", [(3, 2), (257, 256), (0, 4)])
def test_batch_that_does_not_divide_is_refused_with_the_numbers(examples, devices):
    with pytest.raises(ValueError, match=rf"'inputs'.* has {examples} examples.* {devices} dev"):
        tpu._check_divides(shapes(arrays(examples)), devices)


def test_context_needs_no_division():
    tpu._check_divides(shapes(arrays(4)), 4)


HLO = """
%all-reduce.1 = f32[8]{0} all-reduce(%p), replica_groups={}
%s = (f32[8]{0}, f32[8]{0}) all-reduce-start(%p), to_apply=%add
%d = f32[8]{0} all-reduce-done(%s)
%g = f32[16]{0:T(8)} all-gather(%all-reduce.1), dimensions={0}
%c = f32[] collective-permute-start(%d)
%c2 = f32[] collective-permute-done(%c)
%f = f32[8]{0} fusion(%g), calls=%all-reduce-fusion, metadata={op_name="all-to-all(x)"}
"""


def test_collectives_are_counted_once_per_pair():
    assert collectives.count(HLO) == {
        "all-reduce": 2,
        "all-gather": 1,
        "reduce-scatter": 0,
        "all-to-all": 0,
        "collective-permute": 1,
    }


ASYNC = """
%s = ((f32[4]{0}, bf16[2,2]{1,0}), (f32[16]{0:T(8)}, bf16[8,2]{1,0})) all-gather-start(%a, %b)
%d = (f32[16]{0}, bf16[8,2]{1,0}) all-gather-done(%s)
%r = s8[3,5]{1,0:T(8,128)(4,1)S(1)} reduce-scatter(%p), dimensions={0}
%t = (f32[2]{0}, f32[2]{0}, f32[2]{0}, f32[2]{0}, f32[2]{0}, /*index=5*/bf16[3]{0}) all-reduce(%q)
"""


def test_bytes_are_those_of_the_results():
    found = collectives.sizes(HLO)
    assert (found["all-reduce"], found["all-gather"]) == (32 + 2 * 32, 64)
    found = collectives.sizes(ASYNC)
    assert (found["all-gather"], found["reduce-scatter"]) == (4 * 16 + 2 * 16, 15)
    assert (found["all-reduce"], collectives.count(ASYNC)["all-reduce"]) == (5 * 8 + 6, 1)


def test_an_all_reduce_of_four_devices_is_seen_with_its_bytes():
    said = run_on(
        4,
        """
import jax, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from experiments.harness import collectives
mesh = Mesh(np.asarray(jax.devices()), ("data",))
mean = lambda x: jax.lax.pmean((x[0], 2.0 * x[0, :4]), "data")
step = jax.jit(jax.shard_map(mean, mesh=mesh, in_specs=P("data"), out_specs=P()))
text = step.lower(np.ones((4, 8), np.float32)).compile().as_text()
print(collectives.count(text)["all-reduce"] > 0, collectives.sizes(text)["all-reduce"])
""",
    )
    assert said.split() == ["True", "48"]


def test_figures_count_bytes_and_arguments():
    def product(weights, inputs):
        return (inputs @ weights).sum()

    weights = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    inputs = jax.ShapeDtypeStruct((16, 64), jnp.float32)
    compiled = jax.jit(product).lower(weights, inputs).compile()
    found = tpu.figures(compiled, compiled.as_text())
    assert found["argument_bytes"] == 4 * (64 * 32 + 16 * 64)
    assert found["bytes"] >= found["argument_bytes"]
    assert set((found["collectives"] | found["collective_bytes"]).values()) == {0}
    assert found["kernels"] == 0


def test_operations_are_those_of_one_device():
    said = run_on(
        8,
        """
import jax

from experiments.harness import Program, flops, tpu
from jaxlearn.runtime import data_mesh

product = lambda state, batch: (state, {"loss": (batch["inputs"] @ state).sum()})
state, inputs = jax.ShapeDtypeStruct((64, 32), "f"), jax.ShapeDtypeStruct((16, 64), "f")
for devices in (1, 8):
    mesh = data_mesh(jax.devices()[:devices])
    traced = tpu.trace_step(Program(product, state, {"inputs": inputs}), mesh)
    print(flops.of_traced(traced.jaxpr.jaxpr))
""",
    )
    whole, shared = map(float, said.split())
    assert whole == pytest.approx(2 * 16 * 64 * 32, rel=0.1)
    assert shared == pytest.approx(whole / 8, rel=0.02)


def test_kernels_of_the_chip_are_counted():
    call = 'custom-call(%p), custom_call_target="{}", backend_config=""'.format
    text = "\n".join(
        f"%{i} = f32[8]{{0}} {call(n)}" for i, n in enumerate(("tpu_custom_call",) * 2)
    )
    text += "\n" + f"%r = f32[8]{{0}} {call('TopK')}"
    memory = SimpleNamespace(temp_size_in_bytes=1, argument_size_in_bytes=2)
    compiled = SimpleNamespace(memory_analysis=lambda: memory, cost_analysis=dict)
    assert tpu.figures(compiled, text)["kernels"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("slug", ["snn-delays", "spikegpt"])
def test_steps_of_the_paper_have_kernels_inside_on_a_tpu(slug):
    made = discover.load(slug)
    program = made.program(made.presets["paper"])
    traced = jax.jit(program.step).trace(program.state, program.batch)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    # forward and backward
    assert text.count("@tpu_custom_call") >= 2


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
def test_memory_on_one_chip_grows_with_what_must_be_stored(tmp_path):
    """Each layer keeps its 64 MiB of activations for the backward pass.

    They have to be large: a few MiB stay in the chip's vector memory, and temp bytes are 0.
    """
    code = """
import os
from experiments.harness import collectives, tpu
os.environ.update(tpu.ENVIRONMENT)
import jax, jax.numpy as jnp

def step(state, batch):
    def loss(weights):
        x = batch["inputs"]
        for w in weights:
            x = jnp.tanh(x @ w)
        return x.sum()
    value, grads = jax.value_and_grad(loss)(state)
    return jax.tree.map(lambda w, g: w - g, state, grads), {"loss": value}

f32 = jnp.float32
for layers in (2, 6):
    state = [jax.ShapeDtypeStruct((256, 256), f32)] * layers
    print(tpu.tpu_memory(step, state, {"inputs": jax.ShapeDtypeStruct((65536, 256), f32)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    two, six = map(int, done.stdout.split())
    activation = 4 * 65536 * 256
    assert six - two > 2 * activation


def test_a_program_that_was_not_written_is_not_taken_for_one_without_collectives():
    lowered = SimpleNamespace(compile=lambda compiler_options: None)
    traced = SimpleNamespace(lower=lambda lowering_platforms: lowered)
    with pytest.raises(ValueError, match="wrote no program"):
        tpu.compile_step(traced)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu")
@pytest.mark.parametrize("topology", ["v5e:2x2", "v5p:2x2x1"])
def test_the_gradient_is_reduced_once_on_every_topology(topology, tmp_path):
    """Programs for v5p hold operations that jaxlib of this age cannot read back."""
    code = f"""
import os
from experiments.harness import Program, tpu
os.environ.update(tpu.ENVIRONMENT)
import jax, jax.numpy as jnp

def step(state, batch):
    value, grad = jax.value_and_grad(lambda w: jnp.tanh(batch["inputs"] @ w).mean())(state)
    return state - jax.lax.pmean(grad, "data"), {{"loss": jax.lax.pmean(value, "data")}}

shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
found = tpu.compile_program(Program(step, shape(64, 32), {{"inputs": shape(16, 64)}}), "{topology}")
print(found["devices"], found["collectives"]["all-reduce"], found["collective_bytes"]["all-reduce"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    devices, reductions, size = map(int, done.stdout.split())
    assert (devices, reductions) == (4, 1), done.stderr[-2000:]
    assert size >= 4 * (64 * 32 + 1)


def test_program_of_wrong_batch_is_refused_before_compiling(mesh):
    pair = Mesh(np.asarray([jax.devices()[0]]), ("data",))
    program = Program(step, shapes(jnp.zeros(2)), shapes(arrays(0)))
    with pytest.raises(ValueError, match="0 examples"):
        tpu.trace_step(program, pair)
