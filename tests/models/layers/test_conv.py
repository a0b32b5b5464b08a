import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.conv import Conv, convolve


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
def test_is_the_sum_of_its_definition(side, size, stride):
    x = jax.random.normal(jax.random.key(0), (2, side, side + 1, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 4))
    wanted = by_hand(x, kernel, stride)
    np.testing.assert_allclose(convolve(x, kernel, stride), wanted, rtol=1e-4, atol=1e-4)


def test_kernel_has_the_deviation_of_kaiming_over_fan_out():
    params = Conv(64).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    wanted = np.sqrt(2 / (9 * 64))
    np.testing.assert_allclose(np.std(params["kernel"]), wanted, rtol=0.03)
    assert not np.any(params["bias"])
    bare = Conv(2, bias=False).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    assert set(bare) == {"kernel"}
