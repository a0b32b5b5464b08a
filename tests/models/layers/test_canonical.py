import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from jax import lax

from jaxlearn.models.layers.canonical import by_platform, canonical, layout
from tests.devices import run_on

SIDES = {1: (7,), 2: (5, 6), 3: (4, 3, 4)}


@st.composite
def windows(draw):
    """Inputs, a kernel and a window that leaves at least one output."""
    axes = draw(st.integers(1, 3))
    several = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * axes))
    taps, strides, dilation, spread = several(1, 3), several(1, 3), several(1, 2), several(1, 2)
    padding = [(low, high) for low, high in zip(several(-1, 5), several(-1, 5), strict=True)]
    for i, side in enumerate(SIDES[axes]):
        room = (side - 1) * spread[i] + 1 + sum(padding[i]) - (taps[i] - 1) * dilation[i]
        padding[i] = (padding[i][0], padding[i][1] + max(0, 1 - room))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x, kernel = rng.normal(size=(2, *SIDES[axes], 3)), rng.normal(size=(*taps, 3, 2))
    return x, kernel, strides, padding, dilation, spread


def by_hand(x, kernel, strides, padding, dilation, spread):
    """The sum of the definition, entry by entry."""
    axes, sides = x.ndim - 2, x.shape[1:-1]
    counts = [
        ((side - 1) * a + sum(pad) - (tap - 1) * d) // s + 1
        for side, a, pad, tap, d, s in zip(
            sides, spread, padding, kernel.shape[:axes], dilation, strides, strict=True
        )
    ]
    y = np.zeros((len(x), *counts, kernel.shape[-1]))
    for out in np.ndindex(*counts):
        for tap in np.ndindex(*kernel.shape[:axes]):
            at = [o * s + t * d - low for o, s, t, d, (low, _) in zip(
                out, strides, tap, dilation, padding, strict=True)]  # fmt: skip
            inside = all(i % a == 0 and 0 <= i <= (side - 1) * a for i, a, side in zip(
                at, spread, sides, strict=True))  # fmt: skip
            if inside:
                place = tuple(i // a for i, a in zip(at, spread, strict=True))
                y[:, *out] += x[:, *place] @ kernel[tap]
    return y


def ours(window):
    strides, padding, dilation, spread = window
    return lambda x, k: canonical(x, k, strides, padding, dilation=dilation, spread=spread)


def theirs(window, axes):
    strides, padding, dilation, spread = window
    return lambda x, k: lax.conv_general_dilated(
        x, k, strides, padding, spread, dilation, dimension_numbers=layout(axes)
    )


def close(a, b):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), a, b)


@settings(max_examples=40, deadline=None)
@given(windows())
def test_is_the_sum_of_its_definition(drawn):
    x, kernel, *window = drawn
    with jax.enable_x64(True):
        close(ours(window)(x, kernel), by_hand(x, kernel, *window))


@settings(max_examples=6, deadline=None)
@given(windows())
def test_derivatives_of_two_orders_are_those_of_jax(drawn):
    """In reverse, reverse over reverse, and forward over reverse."""
    x, kernel, *window = drawn

    def derived(form):
        def slopes(*at):
            return jax.grad(lambda x, k: jnp.sum(jnp.sin(form(x, k))), (0, 1))(*at)

        total = lambda *at: sum(jnp.sum(jnp.sin(slope)) for slope in slopes(*at))
        at, along = (x, kernel), (jnp.cos(x), jnp.cos(kernel))
        return slopes(*at), jax.grad(total, (0, 1))(*at), jax.jvp(slopes, at, along)[1]

    with jax.enable_x64(True):
        close(derived(ours(window)), derived(theirs(window, x.ndim - 2)))


@settings(max_examples=15, deadline=None)
@given(windows(), st.sampled_from([(0, None), (None, 0), (0, 0), (1, 2)]))
def test_batches_of_inputs_and_of_kernels(drawn, axes):
    x, kernel, *window = drawn
    arguments = [
        one if axis is None else np.stack([one, 2 * one, one**2], axis)
        for one, axis in zip((x, kernel), axes, strict=True)
    ]
    slopes = lambda form: jax.grad(lambda x, k: jnp.sum(jnp.sin(form(x, k))), (0, 1))
    each = lambda form: jax.jit(jax.vmap(lambda *at: (form(*at), slopes(form)(*at)), axes))
    with jax.enable_x64(True):
        close(each(ours(window))(*arguments), each(theirs(window, x.ndim - 2))(*arguments))


def layouts(text):
    """How the convolutions of a program name their axes."""
    return {line.split("dim_numbers = ")[1].split(", window")[0] for line in text.splitlines()
            if "stablehlo.convolution" in line}  # fmt: skip


def test_every_convolution_of_a_gradient_names_its_axes_alike_on_cpu_alone():
    """XLA has its fast kernels inside loops for this order of axes only."""

    def loss(x, kernel):
        once = lambda y, _: (by_platform(y, kernel, (1, 1), [(1, 1)] * 2), None)
        return jnp.sum(jnp.sin(lax.scan(once, x, None, length=3)[0]))

    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 3))
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    text = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu", "cuda")}
    usual = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
    assert layouts(text["cpu"]) == {usual}
    assert layouts(text["tpu"]) == layouts(text["cuda"]) > {usual}


def test_a_kernel_wider_than_its_image_is_a_product():
    """XLA has no fast kernel for it: kernels of delays took 40 times as long."""
    x, kernel = jnp.ones((2, 2, 2, 3)), jnp.ones((3, 3, 3, 4))
    run = lambda x, kernel: canonical(x, kernel, (1, 1), [(1, 1)] * 2)
    assert "stablehlo.convolution" not in jax.jit(run).lower(x, kernel).as_text()
    assert run(x, kernel).tolist() == (12 * jnp.ones((2, 2, 2, 4))).tolist()


def test_shapes_that_do_not_fit_are_refused_as_by_jax():
    with pytest.raises(ValueError, match="feature dimension"):
        canonical(jnp.ones((1, 4, 2)), jnp.ones((3, 3, 1)), (1,), [(1, 1)])


def test_a_batch_of_pairs_is_no_convolution_in_groups():
    x, kernel = jnp.ones((3, 2, 8, 8, 3)), jnp.ones((3, 3, 3, 3, 4))
    run = jax.vmap(lambda x, kernel: by_platform(x, kernel, (1, 1), [(1, 1)] * 2))
    text = jax.jit(run).trace(x, kernel).lower(lowering_platforms=("cpu",)).as_text()
    assert "feature_group_count = 1" in text
    assert "feature_group_count = 3" not in text


SHARED = """
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxlearn.models.layers.canonical import canonical

mesh = Mesh(jax.devices(), ("data",))
x = jax.random.normal(jax.random.key(0), (4, 6, 6, 2))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 3))
loss = lambda x, k: jnp.sum(jnp.sin(canonical(x, k, (1, 1), [(1, 1)] * 2)))
slopes = jax.jit(jax.grad(loss, (0, 1)))
whole = slopes(x, kernel)
specs = P("data"), P()
mapped = jax.shard_map(jax.grad(loss, (0, 1)), mesh=mesh, in_specs=specs, out_specs=specs)
for found in (mapped(x, kernel), slopes(jax.device_put(x, NamedSharding(mesh, P("data"))), kernel)):
    print(max(float(jnp.abs(a - b).max()) for a, b in zip(found, whole)))
"""


def test_devices_that_share_the_examples_sum_the_gradient_of_the_kernel():
    """Within `shard_map` and where the compiler divides the work."""
    assert all(float(line) < 1e-4 for line in run_on(2, SHARED).split())
