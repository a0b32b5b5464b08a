"""Every implementation against the reference scan: values and gradients, at odd shapes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from jaxlearn_kernels import time_blocks_tpu
from jaxlearn_kernels.wkv import pallas_tpu, wkv
from jaxlearn_kernels.wkv.shapes import ODD, Shape

from . import wkv_cases as cases

TOLERANCE = {jnp.float32: 2e-5, jnp.bfloat16: 2e-2}


def agree(implementations, shape, dtype, seed=0, spread=1.0):
    case = cases.drawn(shape, dtype, seed, spread)
    expected = cases.run("reference", case)
    for implementation in implementations:
        cases.compare(cases.run(implementation, case), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("index", [1, 6], ids=lambda i: ODD[i].name)
def test_odd_shapes(index):
    """Types and kernels take turns; ``test_every_odd_shape`` has all pairs."""
    dtype = list(TOLERANCE)[index % 2]
    agree([("interpret", "interpret_gpu")[index // 2 % 2]], ODD[index], dtype, index)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ODD, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_odd_shape(shape, dtype):
    agree(cases.KERNELS, shape, dtype, len(shape.name))


SHAPES = st.builds(
    Shape,
    st.just("drawn"),
    st.integers(1, 10),
    st.lists(st.integers(1, 9), max_size=2).map(tuple),
    st.sampled_from([1, 3, 127, 128, 129, 257]),
)


# every example compiles anew, so a failing one is shown as it is
ONCE = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
RANDOM = given(
    implementation=st.sampled_from(["interpret", "interpret_gpu"]),
    shape=SHAPES,
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 1.0, 3.0]),
)


@ONCE
@RANDOM
def test_an_interpreted_kernel_is_the_reference(implementation, shape, dtype, seed, spread):
    """Values and gradients at random shapes, dtypes and spreads of keys."""
    agree([implementation], shape, dtype, seed, spread)


@pytest.mark.slow
@settings(ONCE, max_examples=40, derandomize=False)
@RANDOM
def test_an_interpreted_kernel_is_the_reference_many_times(
    implementation, shape, dtype, seed, spread
):
    agree([implementation], shape, dtype, seed, spread)


@pytest.mark.parametrize("time", [pytest.param(7, marks=pytest.mark.slow), 8])
def test_time_chunks(monkeypatch, time):
    """Small VMEM budget: several chunks per tile, the last one full or partial."""
    monkeypatch.setattr(time_blocks_tpu, "VMEM_BUDGET", 2 * 28 * 16 * 128 * 3)
    jax.clear_caches()
    assert time_blocks_tpu.plan(time, (3, 128), 28, pallas_tpu.TILE).chunk == 3
    agree(["interpret"], Shape("", time, (3,), 128), jnp.float32)
    jax.clear_caches()


def test_tiles_along_every_axis(monkeypatch):
    monkeypatch.setattr(pallas_tpu, "TILE", 1024)
    jax.clear_caches()
    shape = Shape("", 2, (3, 17), 130)
    cut = time_blocks_tpu.plan(2, shape.features, 28, 1024)
    assert cut.folded == shape.features
    assert cut.tile == (1, 8, 128)
    agree(["interpret"], shape, jnp.float32)
    jax.clear_caches()


@pytest.mark.parametrize("implementation", ["interpret", "interpret_gpu", None])
def test_vmap_inside_shard_map(implementation):
    k, v, w, u, _, gy, *_ = cases.drawn(Shape("", 2, (4, 3), 5))  # the first axis is mapped over

    def gradient(k, v, gy, w, implementation=implementation):
        f = lambda k, w: wkv(k, v, w, u, implementation=implementation)[0]
        return jax.vjp(f, k, w)[1](gy)[0]

    expected = jax.jit(functools.partial(gradient, implementation="reference"))
    each = jnp.stack([expected(k[i], v[i], gy[i], w) for i in range(2)])
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    split = spec(None, None, "data")
    sharded = jax.shard_map(
        jax.vmap(gradient, in_axes=(0, 0, 0, None)),
        mesh=mesh,
        in_specs=(split, split, split, spec()),
        out_specs=split,
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(sharded)(k, v, gy, w), each, atol=2e-6)


def test_the_default_keeps_k_v_y_and_one_array_more():
    """Residuals of the size of k, where the reference keeps ten."""
    k, v, w, u, *_ = cases.drawn(Shape("", 50, (2,), 8))
    sizes = {}
    for implementation in ("reference", None):
        _, pull = jax.vjp(lambda *a, i=implementation: wkv(*a, implementation=i), k, v, w, u)
        sizes[implementation] = sum(a.size >= k.size for a in jax.tree.leaves(pull))
    assert sizes[None] == 4
    assert sizes["reference"] >= 10, sizes


def temporaries(implementation, shape) -> float:
    """Temporary bytes of ``value_and_grad`` as compiled here, in arrays of the size of k."""
    k, v, w, u, _, gy, *_ = cases.drawn(shape)
    loss = lambda k, v, w, u: jnp.vdot(wkv(k, v, w, u, implementation=implementation)[0], gy)
    run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))
    compiled = run.lower(k, v, w, u).compile()
    return compiled.memory_analysis().temp_size_in_bytes / k.nbytes


def test_memory_is_a_few_arrays_and_less_than_the_references():
    """At most six, whatever T; the derivative that JAX writes of the scan takes more."""
    shape = Shape("", 256, (4,), 64)
    found = temporaries(None, shape)
    assert found <= 6
    assert found == pytest.approx(temporaries(None, shape._replace(time=512)), rel=0.1)
    assert temporaries("reference", shape) > 1.5 * found


def test_the_reference_is_differentiable_twice_and_forward():
    """``y``, and so its gradient, does not change along a constant added to k."""
    case = cases.drawn(Shape("", 4, (), 3))
    f = lambda k: (wkv(k, *case[1:4], implementation="reference")[0] ** 2).sum()

    @jax.jit
    def along(direction):
        twice = jax.jvp(jax.grad(f), (case.k,), (direction,))[1]
        return jax.jvp(f, (case.k,), (direction,))[1], twice

    for a in along(jnp.ones_like(case.k)):
        np.testing.assert_allclose(a, 0, atol=1e-5)
    first, second = along(case.v)
    assert abs(first) > 1e-2
    assert np.abs(second).max() > 1e-2
