"""Every kernel against the reference scan: spikes equal, gradients close, at odd shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels import time_blocks_tpu
from jaxlearn_kernels.lif import Neuron, lif, pallas_tpu
from jaxlearn_kernels.lif.shapes import ODD

from . import combos
from .residual import residual

HARD = Neuron(reset="hard")
TOLERANCE = {jnp.float32: 2e-5, jnp.bfloat16: 1e-2}


def agree(neuron, implementations, shape, dtype, seed=0):
    arguments = combos.inputs(shape, dtype, seed)
    expected = combos.run(neuron, "reference", *arguments)
    for implementation in implementations:
        found = combos.run(neuron, implementation, *arguments)
        np.testing.assert_array_equal(found[0], expected[0], err_msg="spikes")
        np.testing.assert_allclose(found[1], expected[1], atol=1e-6, err_msg="v_final")
        for name, a, b in zip(("gx", "gv0"), found[2:], expected[2:], strict=True):
            scale = 1 + np.abs(b).max()
            np.testing.assert_allclose(a, b, atol=TOLERANCE[dtype] * scale, err_msg=name)
            assert residual(a, b) <= TOLERANCE[dtype] * scale, name


@pytest.mark.parametrize("index", range(len(ODD)), ids=lambda i: ODD[i].name)
def test_odd_shapes(index):
    """Float32 and bfloat16 take turns; ``test_every_odd_shape`` has all pairs."""
    dtype = list(TOLERANCE)[index % 2]
    neuron = combos.sample(len(ODD), 1)[index]
    agree(neuron, ("interpret", "interpret_gpu"), ODD[index].full, dtype, index)


@pytest.mark.parametrize("neuron", combos.sample(6, 7), ids=str)
def test_sampled_options(neuron):
    agree(neuron, combos.KERNELS, (4, 3), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ODD, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_odd_shape(shape, dtype):
    for seed, neuron in enumerate(combos.sample(3, len(shape.name))):
        agree(neuron, combos.KERNELS, shape.full, dtype, seed)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", combos.every_neuron(), ids=str)
def test_every_option(neuron):
    agree(neuron, combos.KERNELS, (5, 2, 3), jnp.float32)
    agree(neuron, combos.KERNELS, (3, 129), jnp.bfloat16)


@pytest.mark.parametrize("surrogate", sorted(combos.SURROGATES))
def test_no_surrogate_loses_its_gradient_in_a_kernel(surrogate):
    neuron = Neuron(surrogate=surrogate)
    for implementation in ("interpret", "interpret_gpu"):
        arguments = combos.inputs((2, 40), jnp.float32)
        _, _, gx, _ = combos.run(neuron, implementation, *arguments)
        assert np.abs(gx[0]).max() > 1e-3
        assert (gx != 0).mean() > 0.2


@pytest.mark.parametrize("time", [pytest.param(7, marks=pytest.mark.slow), 8])
def test_time_chunks(monkeypatch, time):
    """Small VMEM budget: several chunks per tile, the last one full or partial."""
    monkeypatch.setattr(time_blocks_tpu, "VMEM_BUDGET", 2 * 12 * 16 * 128 * 2)
    jax.clear_caches()
    assert time_blocks_tpu.plan(time, (3, 128), 12, pallas_tpu.TILE).chunk == 2
    agree(Neuron(reset="hard", decay=0.9), ["interpret"], (time, 3, 128), jnp.float32)
    jax.clear_caches()


def test_tiles_along_every_axis(monkeypatch):
    monkeypatch.setattr(pallas_tpu, "TILE", 1024)
    monkeypatch.setattr(time_blocks_tpu, "MAX_LANES", 128)
    jax.clear_caches()
    features = (3, 17, 130)
    cut = time_blocks_tpu.plan(2, features, 12, 1024)
    assert cut.folded == features
    assert cut.tile == (1, 8, 128)
    agree(Neuron(decay=0.9), ["interpret"], (2, *features), jnp.float32)
    jax.clear_caches()


@pytest.mark.parametrize("implementation", ["reference", *combos.KERNELS])
def test_two_halves_equal_the_whole(implementation):
    x = combos.inputs((6, 5), jnp.bfloat16)[0]
    call = functools.partial(lif, neuron=Neuron(decay=0.9), implementation=implementation)
    whole, v = call(x)
    first, v_half = call(x[:2])
    second, v_end = call(x[2:], v_half)
    np.testing.assert_array_equal(np.concatenate([first, second]), whole)
    np.testing.assert_array_equal(v_end, v)


@pytest.mark.parametrize("implementation", ["reference", "scan", *combos.KERNELS])
def test_bfloat16_input_is_computed_in_float32(implementation):
    """Same spikes and membrane, bit for bit, as from the same numbers in float32."""
    neuron = Neuron(decay=0.9, reset="hard", surrogate="atan")
    arguments = combos.inputs((5, 3, 4), jnp.bfloat16, 3)
    wide = [a.astype(jnp.float32) for a in arguments]
    found, expected = (combos.run(neuron, implementation, *a) for a in (arguments, wide))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[2], expected[2], rtol=2**-8)  # gx is rounded to bfloat16
    np.testing.assert_allclose(found[3], expected[3], rtol=1e-6)


@pytest.mark.parametrize("implementation", ["reference", "scan", *combos.KERNELS])
def test_int8_spikes_are_the_same_spikes(implementation):
    x, v0, *_ = combos.inputs((5, 3, 4), jnp.bfloat16, 4)
    call = functools.partial(lif, x, v0, neuron=HARD, implementation=implementation)
    (spikes, v), (narrow, same) = call(), call(spike_dtype=jnp.int8)
    assert narrow.dtype == jnp.int8
    assert set(np.unique(narrow)) == {0, 1}
    np.testing.assert_array_equal(narrow, spikes)
    np.testing.assert_array_equal(same, v)


@pytest.mark.parametrize("implementation", combos.KERNELS)
def test_vmap_and_shard_map(implementation):
    x, v0, gs, _ = combos.inputs((2, 4, 3, 5), jnp.float32)  # the first axis is mapped over
    neuron = Neuron(decay=0.9)

    def gradient(x, v0, gs):
        f = lambda x: jnp.vdot(lif(x, v0, neuron=neuron, implementation=implementation)[0], gs)
        return jax.grad(f)(x)

    each = jnp.stack([gradient(x[i], v0[0], gs[i]) for i in range(2)])
    mapped = jax.vmap(gradient, in_axes=(0, None, 0))(x, v0[0], gs)
    np.testing.assert_allclose(mapped, each, atol=1e-6)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    sharded = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(spec(None, "data"), spec("data"), spec(None, "data")),
        out_specs=spec(None, "data"),
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(sharded)(x[0], v0[0], gs[0]), each[0], atol=1e-6)


def test_default_keeps_one_residual_per_element():
    """The saved forward keeps u and nothing else of size [T, ...]."""
    x = jnp.ones((50, 8))
    sizes = {}
    for implementation in ("reference", None):
        _, pull = jax.vjp(lambda x, i=implementation: lif(x, neuron=HARD, implementation=i), x)
        sizes[implementation] = sum(a.size for a in jax.tree.leaves(pull) if a.size >= x.size)
    assert sizes[None] == x.size
    assert sizes["reference"] > x.size


def test_reference_is_twice_differentiable_and_forward_differentiable():
    x = combos.inputs((4, 3), jnp.float32)[0]
    f = lambda x: lif(x, neuron=Neuron(surrogate="sigmoid"), implementation="reference")[1].sum()
    tangent = jax.jvp(f, (x,), (jnp.ones_like(x),))[1]
    np.testing.assert_allclose(tangent, jax.grad(f)(x).sum(), rtol=1e-5)
    assert np.isfinite(jax.hessian(f)(x)).all()


def test_decay_as_an_array_gets_its_gradient():
    """Against central differences, on a neuron that never fires (so the step is smooth)."""
    x, _, _, gv = combos.inputs((5, 3), jnp.float32)
    decay = jnp.array([0.2, 0.5, 0.9])
    neuron = Neuron(threshold=1e9, input_decay=True)
    f = lambda d: jnp.vdot(lif(x, neuron=neuron, decay=d)[1], gv)
    numeric = [(f(decay + h) - f(decay - h)) / 2e-2 for h in 1e-2 * np.eye(3, dtype=np.float32)]
    np.testing.assert_allclose(jax.grad(f)(decay), numeric, rtol=2e-2, atol=2e-3)
    same = lif(x, neuron=neuron, decay=jnp.float32(0.5))[1]
    np.testing.assert_allclose(same, lif(x, neuron=neuron)[1], atol=1e-6)
