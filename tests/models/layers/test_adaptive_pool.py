import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.adaptive_pool import adaptive_average_pool


@pytest.mark.parametrize(("height", "width", "size"), [(8, 8, 2), (7, 5, 3), (4, 4, 4), (2, 3, 4)])
def test_against_explicit_cells(height, width, size):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3))
    expected = np.empty((2, size, size, 3))
    for i in range(size):
        rows = slice(i * height // size, math.ceil((i + 1) * height / size))
        for j in range(size):
            columns = slice(j * width // size, math.ceil((j + 1) * width / size))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    found = adaptive_average_pool(jnp.asarray(x, jnp.float32), size)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_other_ranks_are_refused():
    with pytest.raises(ValueError, match=r"found shape \(2, 3\)"):
        adaptive_average_pool(jnp.zeros((2, 3)), 1)
