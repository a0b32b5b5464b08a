"""What the codes of each distribution look like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.core import FROZEN
from jaxlearn.models.heads import projection as heads

KEY = jax.random.key(0)


def test_ranges_and_moments():
    draw = lambda kind: np.asarray(getattr(heads, kind)(KEY, (4, 50, 50)))
    found = {k: draw(k) for k in ("signed_uniform", "unit_uniform", "half_normal")}
    found["kaiming_uniform"] = draw("kaiming_uniform")
    for kind, low, high, mean, square in [
        ("signed_uniform", -1, 1, 0, 1 / 3),
        ("unit_uniform", 0, 1, 0.5, 1 / 3),
        ("half_normal", 0, 9, (2 / np.pi) ** 0.5, 1),
    ]:
        codes = found[kind]
        assert low <= codes.min() < codes.max() < high
        np.testing.assert_allclose([codes.mean(), (codes**2).mean()], [mean, square], atol=0.03)
    np.testing.assert_allclose((found["kaiming_uniform"] ** 2).sum((1, 2)), 2, rtol=0.06)


def test_blocks_and_right_angles():
    blocks = heads.class_blocks(KEY, (3, 2, 6))
    np.testing.assert_array_equal(blocks.sum(0), 1)
    np.testing.assert_array_equal(blocks.sum((1, 2)), 4)
    assert not np.array_equal(blocks, heads.class_blocks(jax.random.key(1), (3, 2, 6)))
    flat = heads.orthonormal(KEY, (3, 2, 6)).reshape(3, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(3), atol=1e-5)
    with pytest.raises(ValueError, match="3 orthonormal codes do not fit into 2 units"):
        heads.orthonormal(KEY, (3, 2))


def test_the_scale_matches_what_the_layer_gives():
    y = 0.1 * jax.random.normal(KEY, (7, 40))
    head = heads.projection(heads.half_normal, 3)
    codes = head.init(KEY, y)[1][FROZEN]["codes"]
    np.testing.assert_allclose((codes**2).mean(), (y**2).mean(), rtol=1e-5)
    silent = head.init(KEY, 0 * y)[1][FROZEN]["codes"]
    np.testing.assert_array_equal(silent, heads.half_normal(KEY, (3, 40)))
    half = heads.projection(heads.half_normal, 3, scale=0.5).init(KEY, y)[1][FROZEN]["codes"]
    np.testing.assert_array_equal(half, 0.5 * silent)


def test_seeds_bring_the_codes_back_in_the_layers_dtype():
    y = jnp.ones((2, 3, 4, 5), jnp.bfloat16)
    options = {"scale": 0.5, "per_channel": True}
    stored = heads.projection(heads.signed_uniform, 3, **options)
    seeded = heads.projection(heads.signed_uniform, 3, regenerate=True, **options)
    kept = stored.apply(*stored.init(KEY, y), y)[0].codes
    again = seeded.apply(*seeded.init(KEY, y), y)[0].codes
    assert kept.shape == (3, 1, 1, 5)
    assert kept.dtype == again.dtype == jnp.bfloat16
    np.testing.assert_array_equal(kept, again)
