"""Every implementation against float64: values and gradients, at odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlearn_kernels.quadratic import pallas_tpu, quadratic, reference
from jaxlearn_kernels.quadratic.branches import Branches
from jaxlearn_kernels.quadratic.shapes import ODD, Shape

from . import quadratic_cases as cases

ALL = ("reference", "xla", "interpret", "interpret_gpu", None)
TOLERANCE = {jnp.float32: 2e-5, jnp.bfloat16: 4e-2}
SMALL = Shape("small", 20, 6, 9)


def agree(shape, form, dtype, implementations, seed=0):
    arguments = cases.drawn(shape, form, dtype, seed)
    expected = cases.exact(*arguments)
    for implementation in implementations:
        for recompute in (False, True):
            found = cases.run(implementation, *arguments, recompute=recompute)
            error = cases.furthest(found, expected)
            assert error < TOLERANCE[dtype], (implementation, recompute, error)


@pytest.mark.parametrize("form", list(cases.FORMS))
def test_every_form(form):
    agree(SMALL, form, jnp.float32, ("interpret", "interpret_gpu", None))


def test_half_of_the_bits():
    agree(SMALL, "full", jnp.bfloat16, ("interpret", "interpret_gpu"))


@pytest.mark.parametrize("index", range(len(ODD)), ids=lambda i: ODD[i].name)
def test_odd_sizes(index):
    """Forms, types and kernels take turns; ``test_every_odd_size`` has all of them."""
    form, dtype = list(cases.FORMS)[index % 3], list(TOLERANCE)[index % 2]
    agree(ODD[index], form, dtype, [("interpret", "interpret_gpu")[index // 2 % 2]], index)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ODD, ids=lambda s: s.name)
@pytest.mark.parametrize("form", list(cases.FORMS))
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_odd_size(shape, form, dtype):
    agree(shape, form, dtype, ALL, len(shape.name))


@pytest.mark.slow
def test_blocks_of_rows_and_outputs(monkeypatch):
    """A small budget: several blocks along both axes, the last ones cut off."""
    monkeypatch.setattr(pallas_tpu, "VMEM_BUDGET", 3 * 2**20)
    jax.clear_caches()
    shape = Shape("", 300, 200, 300)
    layer = pallas_tpu.Layer(*shape[1:], 3, 4)
    assert pallas_tpu.forward_plan(layer) == pallas_tpu.Plan(128, 256)
    assert pallas_tpu.backward_plan(layer) is None
    agree(shape, "full", jnp.float32, ["interpret"])
    shape = Shape("", 300, 60, 130)
    layer = pallas_tpu.Layer(*shape[1:], 3, 4)
    assert pallas_tpu.backward_plan(layer).rows < 300
    agree(shape, "full", jnp.float32, ["interpret"])
    jax.clear_caches()


def test_plans_stay_within_the_budget():
    """What a plan says it needs, counted anew: blocks in two buffers each, and the sums."""
    up = lambda n: -(-n // 128) * 128
    for inputs in (1, 100, 500, 2000):
        for outputs in (1, 130, 4096):
            layer = pallas_tpu.Layer(10_000, inputs, outputs, 3, 4)
            for written in (1, 3):
                cut = pallas_tpu.forward_plan(layer, written)
                if cut is None:
                    assert inputs == 2000
                    continue
                n, m = up(inputs), up(cut.outputs)
                blocks = 3 * n * m + cut.rows * (n + written * m)
                assert 8 * blocks + 4 * 3 * cut.rows * m <= pallas_tpu.VMEM_BUDGET
            cut = pallas_tpu.backward_plan(layer)
            if cut is not None:
                n, m = up(inputs), up(outputs)
                assert 8 * (6 * n * m + cut.rows * (2 * n + m)) <= pallas_tpu.VMEM_BUDGET


def test_leading_axes_are_rows():
    x, branches, _ = cases.drawn(SMALL, "full", jnp.float32)
    flat = quadratic(x, **branches)
    for lead in ((4, 5), (2, 2, 5), (20,)):
        found = quadratic(x.reshape(*lead, 6), **branches)
        assert found.shape == (*lead, 9)
        np.testing.assert_array_equal(found.reshape(20, 9), flat)
    np.testing.assert_allclose(quadratic(x[0], **branches), flat[0], rtol=1e-5, atol=1e-6)
    assert quadratic(x[:0], **branches).shape == (0, 9)


def test_one_branch_is_a_linear_layer():
    x, branches, dy = cases.drawn(SMALL, "full", jnp.float32)
    y, to_x, to_r = cases.run(None, x, {"r": branches["r"]}, dy)
    np.testing.assert_allclose(y, x @ branches["r"].kernel + branches["r"].bias, atol=1e-5)
    np.testing.assert_allclose(to_x, dy @ branches["r"].kernel.T, atol=1e-5)
    np.testing.assert_allclose(to_r["r"].bias, dy.sum(0), rtol=1e-5)


@pytest.mark.parametrize("implementation", ["interpret", "interpret_gpu", None])
def test_vmap_and_shard_map(implementation):
    x, branches, dy = cases.drawn(Shape("", 8, 5, 3), "full", jnp.float32)
    x, dy = (a.reshape(2, 4, -1) for a in (x, dy))

    def gradient(x, branches, dy):
        f = lambda x: quadratic(x, **branches, recompute=True, implementation=implementation)
        return jax.vjp(f, x)[1](dy)[0]

    each = jnp.stack([gradient(x[i], branches, dy[i]) for i in range(2)])
    np.testing.assert_allclose(jax.vmap(gradient, (0, None, 0))(x, branches, dy), each, atol=1e-5)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec
    sharded = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(spec("data"), spec(), spec("data")),
        out_specs=spec("data"),
        check_vma=False,
    )
    np.testing.assert_allclose(jax.jit(sharded)(x[0], branches, dy[0]), each[0], atol=1e-5)


def test_recomputing_keeps_x_alone():
    x, branches, _ = cases.drawn(Shape("", 50, 9, 9), "full", jnp.float32)

    def kept(recompute):
        _, pull = jax.vjp(lambda x: quadratic(x, **branches, recompute=recompute), x)
        return sum(leaf.shape == x.shape for leaf in jax.tree.leaves(pull))

    assert (kept(True), kept(False)) == (1, 3)


def test_the_written_gradient_is_the_one_of_jax():
    """Float64, so that nothing is left to rounding."""
    with jax.enable_x64(True):
        for form in cases.FORMS:
            x, branches, dy = cases.drawn(SMALL, form, jnp.float64)
            whole = Branches(**branches)
            f = lambda x, whole: reference.forward(x, whole, save=False)[0]
            expected = jax.vjp(f, x, whole)[1](dy)
            found = reference.backward(x, whole, dy)
            assert cases.furthest(found, expected) < 1e-13


def test_the_reference_is_differentiable_twice_and_forward():
    x, branches, _ = cases.drawn(Shape("", 3, 4, 2), "full", jnp.float32)
    f = lambda x: quadratic(x, **branches, implementation="reference").sum()
    tangent, slope, curvature = jax.jit(
        lambda x: (jax.jvp(f, (x,), (jnp.ones_like(x),))[1], jax.grad(f)(x), jax.hessian(f)(x))
    )(x)
    np.testing.assert_allclose(tangent, np.sum(slope), rtol=1e-5)
    # d2y / dx_i dx_j = W_r,i W_g,j + W_r,j W_g,i + 2 W_b,i [i = j], summed over outputs
    r, g, b = (np.asarray(branches[k].kernel) for k in "rgb")
    cross = r @ g.T
    expected = cross + cross.T + 2 * np.diag(b.sum(1))
    np.testing.assert_allclose(np.asarray(curvature)[1, :, 1], expected, rtol=1e-4, atol=1e-5)
