"""The kernels against the reference at odd sizes, and the product under transformations."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jaxlearn_kernels.spmm import (
    Epilogue,
    from_coordinates,
    pallas_gpu,
    pallas_tpu,
    reference,
    spmm,
)
from jaxlearn_kernels.spmm.shapes import ODD, random_graph

from . import spmm_cases as cases

KERNELS = {
    "gpu": functools.partial(pallas_gpu.forward, interpret=True),
    "tpu": functools.partial(pallas_tpu.forward, interpret=True),
}
EVERY = [Epilogue(*flags) for flags in itertools.product((False, True), repeat=3)]


@functools.cache
def graph(shape):
    return jax.jit(lambda: random_graph(shape, padding=0.1))()


def forward_agrees(kernel, shape, options, dtype, given, tolerance, **plan):
    matrix = graph(shape)
    x, scale, bias, _, _ = cases.inputs((shape.rows, shape.columns), shape.width, dtype)
    arrays = (matrix.pattern, matrix.values, x, scale if given else None, bias if given else None)
    common = {"epilogue": options, "dtype": jnp.dtype(dtype)}
    expected = reference.forward(*arrays, **common)
    found = kernel(*arrays, **common, **plan)
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, atol=tolerance * max(1, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("index", [i for i, s in enumerate(ODD) if s.entries])
def test_odd_sizes(index):
    """Kernels, options and dtypes take turns; the slow test has all of them."""
    kernel = list(KERNELS.values())[index % 2]
    dtype, tolerance = ((jnp.float32, 1e-5), (jnp.bfloat16, 1e-2))[index // 2 % 2]
    forward_agrees(kernel, ODD[index], EVERY[-1 - index], dtype, bool(index % 3), tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [s for s in ODD if s.entries], ids=lambda s: s.name)
@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 1e-5), (jnp.bfloat16, 1e-2)])
def test_every_odd_size_and_option(name, shape, dtype, tolerance):
    for options, given in itertools.product(EVERY, (False, True)):
        forward_agrees(KERNELS[name], shape, options, dtype, given, tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("options", EVERY, ids=str)
@pytest.mark.parametrize("implementation", cases.IMPLEMENTATIONS)
def test_every_option_and_its_gradients(options, implementation):
    rng = np.random.default_rng(1)
    draws = [rng.integers(0, cases.ROWS, 300), rng.integers(0, cases.COLUMNS, 300)]
    entries = cases.Entries(*draws, rng.normal(size=300))
    cases.against_oracle(entries, implementation, options, 3e-4)


@pytest.mark.parametrize("options", [Epilogue(relu=True), cases.FULL], ids=["plain", "measured"])
@pytest.mark.parametrize("block", [2, 6, 32])
def test_rows_in_pieces_are_whole_rows(options, block):
    """Rows that begin within, at and around blocks; the last block is cut; several column tiles."""
    plan = pallas_gpu.Plan(entries=2, columns=64 if not options.measures else 256, warps=1)
    plan = plan._replace(block=block)
    forward_agrees(KERNELS["gpu"], ODD[5], options, jnp.float32, True, 1e-5, cut=plan)


@pytest.mark.parametrize("lengths", [(0, 9, 0), (4, 4, 9), (3, 8, 1), (5, 12), (8,), (12, 12, 1)])
def test_every_place_of_a_long_row_among_the_blocks(lengths):
    rows = np.repeat(np.arange(len(lengths)), lengths)
    values = np.random.default_rng(0).normal(size=len(rows))
    matrix = from_coordinates(rows, np.arange(len(rows)), values, (len(lengths), len(rows)))
    plan = pallas_gpu.Plan(entries=2, columns=4, warps=1, block=4)
    x = jax.random.normal(jax.random.key(0), (len(rows), 3))
    arrays, options = (matrix.pattern, matrix.values, x, None, None), cases.FULL
    common = {"epilogue": options, "dtype": jnp.dtype(jnp.float32)}
    found = KERNELS["gpu"](*arrays, **common, cut=plan)
    for a, b in zip(found, reference.forward(*arrays, **common), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_columns_beyond_one_tpu_call(monkeypatch):
    monkeypatch.setattr(pallas_tpu, "MAX_COLUMNS", 256)
    forward_agrees(KERNELS["tpu"], ODD[6], cases.FULL, jnp.float32, True, 1e-5)


def test_no_entries_and_no_columns():
    for index, width in ((1, 5), (1, 0)):
        matrix = graph(ODD[index])
        y, squares = spmm(matrix, jnp.ones((4, width)), epilogue=cases.FULL)
        assert y.shape == (3, width)
        assert not y.any()
        assert squares.tolist() == [0.0] * 3


MATRIX = graph(ODD[5]._replace(width=3))
X = jnp.asarray(np.random.default_rng(0).normal(size=(7, 4, 3)), jnp.float32)


@pytest.mark.parametrize("options", [Epilogue(relu=True), cases.FULL], ids=["plain", "measured"])
def test_axes_between_are_passes_of_their_own(options):
    bias = jnp.arange(3.0)

    def loss(product, x):
        leaves = jax.tree.leaves(product(x))
        return sum(
            jnp.vdot(leaf, jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)) for leaf in leaves
        )

    call = functools.partial(spmm, MATRIX, epilogue=options, bias=bias)

    def each(x):
        passes = [call(x[:, p]) for p in range(4)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *passes)

    for f in (lambda g: g(X), lambda g: jax.grad(functools.partial(loss, g))(X)):
        together, apart = (
            jax.jit(functools.partial(f, call))(),
            jax.jit(functools.partial(f, each))(),
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), together, apart)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", [None, "interpret_gpu"])
def test_vmap_over_x_over_values_and_over_the_epilogue(implementation):
    xs, bias = jnp.moveaxis(X, 1, 0), jnp.arange(12.0).reshape(4, 3)
    values = MATRIX.values * jnp.arange(1.0, 5.0)[:, None]

    @jax.jit
    def gradient(values, x, bias):
        def loss(values, x, bias):
            matrix = MATRIX._replace(values=values)
            options = Epilogue(relu=True, normalize=True)
            y = spmm(matrix, x, epilogue=options, bias=bias, implementation=implementation)
            return jnp.sum(jnp.sin(y))

        return jax.grad(loss, (0, 1, 2))(values, x, bias)

    for axes in ((None, 0, 0), (0, None, None)):
        full = (values, xs, bias)
        arguments = [a if axis == 0 else a[1] for a, axis in zip(full, axes, strict=True)]
        mapped = jax.vmap(gradient, axes)(*arguments)
        for i in range(4):
            one = gradient(
                *(a[i] if axis == 0 else a for a, axis in zip(arguments, axes, strict=True))
            )
            jax.tree.map(
                lambda a, b, i=i: np.testing.assert_allclose(a[i], b, atol=1e-4), mapped, one
            )


def test_vmap_reads_the_entries_once():
    """On CPU: one library call for all examples, where the batched matrix product has none."""
    xs = jnp.moveaxis(X, 1, 0)
    text = jax.jit(jax.vmap(functools.partial(spmm, MATRIX))).lower(xs).compile().as_text()
    assert text.count('custom_call_target="cpu_csr') == 1
    assert "scatter" not in text


def test_shard_map_over_columns():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec(None, "data")
    gradient = jax.grad(lambda x: jnp.sum(spmm(MATRIX, x, epilogue=Epilogue(relu=True)) ** 2))
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    np.testing.assert_array_equal(jax.jit(sharded)(X[:, 0]), jax.jit(gradient)(X[:, 0]))


def kept(f, *arguments) -> list[tuple[int, ...]]:
    """Shapes of what the backward pass of f keeps."""
    _, pull = jax.vjp(f, *arguments)
    return [leaf.shape for leaf in jax.tree.leaves(pull)]


def test_only_what_a_wanted_gradient_needs_is_kept():
    """x only for the values, the product only for the scale, y only for an epilogue."""
    values, x, scale = MATRIX.values, X[:, 0], jnp.ones(129)
    with_values = lambda v, x: spmm(MATRIX._replace(values=v), x)
    assert (7, 3) not in kept(lambda x: with_values(values, x), x)
    assert (7, 3) in kept(lambda v: with_values(v, x), values)
    assert (129, 3) not in kept(lambda x: spmm(MATRIX, x, scale=scale), x)
    assert (129, 3) in kept(lambda s: spmm(MATRIX, x, scale=s), scale)
    assert (129, 3) in kept(lambda x: spmm(MATRIX, x, epilogue=Epilogue(relu=True)), x)


def test_no_messages_for_the_values_unless_asked():
    """The gradient of x makes no ``[E, d]`` array beside the product; that of the values does."""

    def shapes(f, x):
        equations = jax.make_jaxpr(jax.grad(f))(x).jaxpr.eqns
        return [variable.aval.shape for equation in equations for variable in equation.outvars]

    messages = (ODD[5].entries, 3)
    with_values = lambda v: spmm(MATRIX._replace(values=v), X[:, 0]).sum()
    assert messages in shapes(with_values, MATRIX.values)
    assert messages not in shapes(lambda x: spmm(MATRIX, x).sum(), X[:, 0])


@pytest.mark.slow
def test_tpu_copies_are_waited_for_before_they_are_read():
    """On a simulated TPU whose copies happen when waited for, and whose memory starts as nan."""
    simulated = functools.partial(
        pallas_tpu.forward, interpret=pltpu.InterpretParams(dma_execution_mode="on_wait")
    )
    many = ODD[5]._replace(
        entries=600, width=8
    )  # five chunks in two blocks: every buffer is reused
    forward_agrees(simulated, many, cases.FULL, jnp.float32, True, 1e-5)


def test_reference_is_twice_differentiable_and_forward_differentiable():
    options = Epilogue(normalize=True, eps=0.1)

    def f(x):
        return jnp.sum(spmm(MATRIX, x, epilogue=options, implementation="reference") ** 2)

    @jax.jit
    def all_of(x):
        gradient, curvature = jax.jvp(jax.grad(f), (x,), (jnp.ones_like(x),))
        return jax.jvp(f, (x,), (jnp.ones_like(x),))[1], gradient, curvature

    tangent, gradient, curvature = all_of(X[:, 0])
    np.testing.assert_allclose(tangent, gradient.sum(), rtol=1e-3)
    assert np.isfinite(curvature).all()
