import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.conv import Conv, _as_product, _native, convolve, images_together


def by_hand(x, kernel, stride):
    """The sum of the definition, in float64."""
    size, r = kernel.shape[0], kernel.shape[0] // 2
    wide = np.pad(np.asarray(x, np.float64), ((0, 0), (r, r), (r, r), (0, 0)))
    height, width = (-(-side // stride) for side in x.shape[1:3])
    y = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            patch = wide[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.einsum("bpqc,pqco->bo", patch, np.asarray(kernel, np.float64))
    return y


@pytest.mark.parametrize(
    ("side", "size", "stride"), [(6, 3, 1), (6, 3, 2), (7, 3, 2), (6, 1, 2), (5, 5, 1)]
)
@pytest.mark.parametrize("form", [convolve, _as_product, _native])
def test_is_the_sum_of_its_definition(form, side, size, stride):
    x = jax.random.normal(jax.random.key(0), (2, side, side + 1, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 4))
    wanted = by_hand(x, kernel, stride)
    np.testing.assert_allclose(form(x, kernel, stride), wanted, rtol=1e-4, atol=1e-4)


def test_both_forms_have_the_same_gradients():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))
    loss = lambda form: lambda x, kernel: jnp.sum(jnp.sin(form(x, kernel, 2)))
    ours = jax.grad(loss(convolve), (0, 1))(x, kernel)
    theirs = jax.grad(loss(_native), (0, 1))(x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)


def test_a_few_images_at_a_time_have_the_gradients_of_all():
    x = jax.random.normal(jax.random.key(0), (6, 32, 32, 8))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 8, 4))
    assert images_together(x.shape, kernel.shape, 1) == 3
    assert images_together(x.shape, kernel.shape, 2) == 6
    loss = lambda form: lambda x, kernel: jnp.sum(jnp.sin(form(x, kernel, 1)))
    ours, theirs = (jax.jit(jax.grad(loss(f), (0, 1)))(x, kernel) for f in (convolve, _native))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), ours, theirs)


@pytest.mark.parametrize(
    ("x", "kernel", "together"),
    [
        ((128, 16, 16, 16), (3, 3, 16, 16), 4),  # 1,820 rows of 144 fill the megabyte
        ((128, 32, 32, 16), (3, 3, 16, 16), 1),
        ((7, 8, 8, 32), (3, 3, 32, 32), 7),
        ((32, 4, 4, 512), (3, 3, 512, 512), 16),  # 256 rows, though they are 4.7 megabytes
        ((0, 4, 4, 8), (3, 3, 8, 8), 0),
    ],
)
def test_images_together_divide_all_and_fill_the_cache(x, kernel, together):
    assert images_together(x, kernel, 1) == together


def test_only_the_cpu_program_is_a_product_of_matrices():
    shapes = (
        jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32),
        jax.ShapeDtypeStruct((3, 3, 3, 4), jnp.float32),
    )
    traced = jax.jit(convolve).trace(*shapes)
    text = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "tpu", "cuda")}
    assert {p: "stablehlo.convolution" in t for p, t in text.items()} == {
        "cpu": False,
        "tpu": True,
        "cuda": True,
    }


def test_kernel_has_the_deviation_of_kaiming_over_fan_out():
    params = Conv(64).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    wanted = np.sqrt(2 / (9 * 64))
    np.testing.assert_allclose(np.std(params["kernel"]), wanted, rtol=0.03)
    assert not np.any(params["bias"])
    bare = Conv(2, bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    assert set(bare) == {"kernel"}
