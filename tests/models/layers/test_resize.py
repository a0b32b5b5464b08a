import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.resize import resize_aligned


def by_hand(x, side):
    """Two-dimensional linear interpolation point by point."""
    height, width = x.shape[1:3]
    y = np.zeros((x.shape[0], side, side, x.shape[-1]))
    for i in range(side):
        for j in range(side):
            r, c = i * (height - 1) / (side - 1), j * (width - 1) / (side - 1)
            top, left = min(int(r), height - 2), min(int(c), width - 2)
            a, b = r - top, c - left
            y[:, i, j] = (
                (1 - a) * (1 - b) * x[:, top, left] + a * (1 - b) * x[:, top + 1, left]
                + (1 - a) * b * x[:, top, left + 1] + a * b * x[:, top + 1, left + 1]
            )  # fmt: skip
    return y


@pytest.mark.parametrize("side", [2, 5, 8])
def test_interpolates_between_aligned_corners(side):
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    found = np.asarray(resize_aligned(jnp.asarray(x), side))
    np.testing.assert_allclose(found, by_hand(x, side), atol=1e-6)
    np.testing.assert_allclose(found[:, [0, 0, -1, -1], [0, -1, 0, -1]],
                               x[:, [0, 0, -1, -1], [0, -1, 0, -1]], atol=1e-6)  # fmt: skip


def test_same_side_changes_nothing_and_a_point_fills_the_image():
    x = jnp.arange(18.0).reshape(1, 3, 3, 2)
    np.testing.assert_array_equal(resize_aligned(x, 3), x)
    assert (resize_aligned(x[:, :1, :1], 4) == x[0, 0, 0]).all()


def test_other_ranks_are_refused():
    with pytest.raises(ValueError, match=r"expected \[batch, H, W, C\] and side >= 1"):
        resize_aligned(jnp.zeros((2, 3)), 4)
