"""Distances on the support of a mask, and the barrier on the line between two networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.analysis.stability import angle, barrier, distance, interpolated

RNG = np.random.default_rng(0)
A, B = (
    {
        "b": RNG.standard_normal(3),
        "w": RNG.standard_normal((4, 3)),
        "z": RNG.standard_normal((2, 2)),
    }
    for _ in range(2)
)
MASKS = {
    "b": None,
    "w": jnp.asarray(RNG.random((4, 3)) < 0.5),
    "z": jnp.asarray(RNG.random((2, 2)) < 0.5),
}


def on_support(tree):
    return np.concatenate([tree[name][np.asarray(MASKS[name])] for name in ("w", "z")])


def test_distance_and_angle_are_those_of_the_vectors_on_the_support():
    a, b = on_support(A), on_support(B)
    assert float(distance(A, B, MASKS)) == pytest.approx(np.linalg.norm(a - b), rel=1e-6)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert float(angle(A, B, MASKS)) == pytest.approx(np.degrees(np.arccos(cosine)), rel=1e-5)


def test_what_is_off_the_support_does_not_count():
    noisy = {
        "b": B["b"] + 9,
        "w": np.where(MASKS["w"], B["w"], 1e6),
        "z": np.where(MASKS["z"], B["z"], np.nan),
    }
    for measure in (distance, angle):
        assert float(measure(A, noisy, MASKS)) == pytest.approx(float(measure(A, B, MASKS)))


def test_angle_is_exact_where_the_arc_cosine_is_not():
    a = {"w": jnp.array([[1.0, 0.0]])}
    b = {"w": jnp.array([[1.0, 1e-5]])}
    mask = {"w": jnp.ones((1, 2), bool)}
    assert float(angle(a, b, mask)) == pytest.approx(np.degrees(1e-5), rel=1e-3)
    assert float(angle(a, jax.tree.map(lambda leaf: 3 * leaf, a), mask)) == 0
    assert float(angle(a, jax.tree.map(lambda leaf: -leaf, a), mask)) == pytest.approx(180)


def test_barrier_of_a_quadratic_is_its_excess_over_the_ends():
    """E(w) = 1 - w^2 on the line from -1 to 3: highest at 0, which is one of the points."""
    error = lambda params: float(1 - params["w"] ** 2)
    ends = {"w": jnp.float32(-1.0)}, {"w": jnp.float32(3.0)}
    assert barrier(error, *ends, 5) == pytest.approx(1.0 - (0.0 - 8.0) / 2)
    convex = lambda params: -error(params)
    assert barrier(convex, *ends, 5) == pytest.approx(8 - 4)


def test_a_network_is_connected_with_itself_and_ends_are_exact():
    error = lambda params: float(jnp.sum(params["w"]))
    assert barrier(error, A, A) == pytest.approx(0, abs=1e-5)
    np.testing.assert_array_equal(interpolated(A, B, 0.0)["w"], A["w"])
    np.testing.assert_array_equal(interpolated(A, B, 1.0)["w"], B["w"])
    with pytest.raises(ValueError, match="both ends take 2 points"):
        barrier(error, A, B, 1)
