"""Feature maps against closed forms, by quadrature where it is exact, by sampling elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.layers.random_features import (
    SPECTRA,
    arc_cosine,
    gaussian,
    identity_features,
    normalized,
    orthogonal,
    power_series_features,
    relu_features,
    scaled,
    universal_features,
)
from jaxlearn.models.layers.random_features.power_series import coefficients

X = np.array([0.6, -0.4])
W = np.array([0.3, 0.7])
B = 0.25
NODES = 48


def quadrature():
    """Directions `[nodes^2, 2]` and weights that integrate over two standard normals."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    return grid, np.outer(weights, weights).ravel() / (2 * np.pi)


def at_nodes(name, form, knob):
    """Estimates of every node by itself, the rate they share, and the weights; float64."""
    grid, weights = quadrature()
    features = universal_features(name, len(grid), form=form, knob=knob)

    @jax.jit
    def products():
        draws = features.draw(jax.random.key(0), 2)
        draws = {
            k: jnp.broadcast_to(v[:, :1], v.shape) for k, v in draws.items() if k != "directions"
        }
        draws["directions"] = jnp.asarray(grid)
        psi = features.psi(draws, jnp.asarray(W)[None], jnp.array([B]))
        return draws, features.phi(draws, jnp.asarray(X)) * psi

    draws, product = jax.tree.map(np.asarray, products())
    each = len(grid) * product.reshape(-1, len(grid)).sum(0)
    rate, weight = (complex(*draws[k][:, 0]) for k in ("rate", "weight"))
    return each, rate, weight, weights


CASES = [
    ("cos", "symmetric", 0.0),
    ("sin", "symmetric", 0.1),
    ("cos", "asymmetric", -0.05),
    ("sin", "asymmetric", 0.0),
    ("cos", "trigonometric", 0.0),
    ("exp", "symmetric", 0.1),
    ("exp", "trigonometric", 0.0),
    ("sech", "symmetric", 0.0),
    ("sinh", "symmetric", 0.0),
]


def test_expectation_and_variance_are_those_of_the_formulas():
    """Both over the directions, for one rate r: the real part of `c exp(r (w.x + b))` and

    `Var = (E|Z|^2 + re E Z^2) / 2 - (re E Z)^2` with Gaussian integrals of a quadratic exponent.
    """
    with jax.enable_x64(True):
        for name, form, knob in CASES:
            each, rate, weight, weights = at_nodes(name, form, knob)
            mean = (weight * np.exp(rate * (X @ W + B))).real
            np.testing.assert_allclose(weights @ each, mean, atol=1e-9, err_msg=f"{name} {form}")
            alpha = {"symmetric": np.sqrt(rate), "asymmetric": 1, "trigonometric": 1j}[form]
            beta, s2, c = rate / alpha, 1 + 4 * knob, weight * np.exp(rate * B)
            v, square = alpha * X + beta * W, alpha**2 * (X @ X) + beta**2 * (W @ W)
            scale = s2**2 / (1 + 8 * knob)
            squared = c**2 * scale * np.exp(2 * s2 * (v @ v) / (1 + 8 * knob) - square)
            real = np.real(v)
            modulus = abs(c) ** 2 * scale
            modulus *= np.exp(2 * s2 * (real @ real) / (1 + 8 * knob) - np.real(square))
            # where phi is real only the real part of psi is kept, which is the same real part
            variance = (modulus + squared.real) / 2 - mean**2
            found = weights @ (each - mean) ** 2
            np.testing.assert_allclose(found, variance, rtol=1e-6, err_msg=f"{name} {form} {knob}")


@pytest.mark.slow
def test_spectra_are_the_transforms_of_their_functions():
    z = np.linspace(-1.5, 1.5, 7)
    for name, spectrum in SPECTRA.items():
        t = spectrum.sample(jax.random.key(1), (200_000,))
        terms = spectrum.weight(t)[:, None] * jnp.exp(spectrum.rate(t)[:, None] * z)
        error = 4 * jnp.std(terms.real, 0) / np.sqrt(len(t)) + 1e-5
        assert (abs(terms.mean(0).real - spectrum.function(z)) < error).all(), name
        assert (abs(terms.mean(0).imag) < 4 * jnp.std(terms.imag, 0) / np.sqrt(len(t)) + 1e-5).all()


def test_identity_1_unbiased_within_four_standard_errors_and_imaginary_part_to_zero():
    x, w, b = jnp.array([0.3, -0.5, 0.4, 0.1]), jnp.array([[0.2, 0.6, -0.1, 0.5]]), jnp.array([0.4])
    z, n = float(w[0] @ x + b[0]), 200_000
    for name, knob in (("cos", 0.0), ("sin", 0.0), ("cos", -0.1), ("sin", 0.1)):
        features = universal_features(name, n, knob=knob)

        @jax.jit
        def parts(key, features=features):
            draws = features.draw(key, 4)
            return features.phi(draws, x), features.psi(draws, w, b)[0]

        phi, psi = (np.asarray(part).reshape(2, n) for part in parts(jax.random.key(2)))
        (re, im), (first, second) = phi, psi
        real, imaginary = n * (re * first + im * second), n * (im * first - re * second)
        for terms, truth in ((real, SPECTRA[name].function(z)), (imaginary, 0)):
            assert abs(terms.mean() - truth) < 4 * terms.std() / np.sqrt(n), (name, knob)


def test_real_part_is_the_mean_over_both_signs_of_the_frequency():
    features = universal_features("sin", 8, form="asymmetric")
    draws = jax.jit(features.draw, static_argnums=1)(jax.random.key(0), 2)
    turn = lambda pair: np.asarray(pair) * np.array([[1.0], [-1.0]], np.float32)
    other = draws | {k: turn(draws[k]) for k in ("rate", "weight", "beta")}
    x, w, b = jnp.asarray(X, jnp.float32), jnp.asarray(W, jnp.float32)[None], jnp.array([B])
    estimate = jax.jit(features.estimate)
    one, two = (np.asarray(estimate(given, x, w, b)) for given in (draws, other))
    np.testing.assert_allclose((one + two) / 2, one, rtol=1e-5)
    assert (np.asarray(jax.jit(features.phi)(draws, x)) > 0).all()


def test_identity_3_relu_features_estimate_the_arc_cosine_kernel():
    features = relu_features(100_000)
    x, w = jnp.array([0.9, -0.2, 0.4]), jnp.array([[0.5, 0.5, -0.1], [0.0, 0.0, 0.0]])
    draws, exact = (
        jax.jit(features.draw, static_argnums=1)(jax.random.key(0), 3),
        jax.jit(arc_cosine),
    )
    found, phi = np.asarray(jax.jit(features.estimate)(draws, x, w)), jax.jit(features.phi)
    np.testing.assert_allclose(found, exact(x, w), atol=1e-2)
    assert found[1] == 0
    np.testing.assert_array_equal(phi(draws, 2 * x), 2 * np.asarray(phi(draws, x)))
    # in the plane the integral over the angle is a sum over equal steps
    count = 4000
    angle = 2 * np.pi * np.arange(count) / count
    circle = {"directions": jnp.asarray(np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], -1))}
    plane = jax.jit(relu_features(count).estimate)(circle, jnp.asarray(X), jnp.asarray(W)[None])
    np.testing.assert_allclose(plane, exact(jnp.asarray(X), jnp.asarray(W)[None]), rtol=1e-4)


def test_relu_features_turn_linear_as_the_floor_falls():
    g = jax.jit(orthogonal, static_argnums=(1, 2, 3))(jax.random.key(0), 3, 3, "fixed")
    x, w = jnp.array([1.0, -2.0, 0.5]), jnp.array([[0.3, 0.1, -0.7]])
    found = jax.jit(relu_features(3, floor=-100.0).estimate)({"directions": g}, x, w)
    np.testing.assert_allclose(found, w @ x, rtol=1e-5)


@pytest.mark.slow
def test_power_series_estimate_their_polynomials_and_the_functions():
    x, w, b = jnp.array([0.5, -0.3]), jnp.array([[0.4, 0.6]]), jnp.array([0.5])
    z, n = float(w[0] @ x + b[0]), 200_000
    exact = {"gelu": lambda z: jax.nn.gelu(z, approximate=False), "softplus": jax.nn.softplus}
    for name, function in (exact | {"tanh": jnp.tanh, "exp": jnp.exp}).items():
        polynomial = np.polynomial.polynomial.polyval(z, coefficients(name, 11))
        np.testing.assert_allclose(polynomial, function(z), atol=1e-4)
        features = power_series_features(name, n)
        draws = features.draw(jax.random.key(3), 2)
        terms = n * features.phi(draws, x) * features.psi(draws, w, b)[0]
        assert abs(terms.mean() - polynomial) < 4 * terms.std() / np.sqrt(n), name


def test_identity_8_orthogonal_rows_and_their_norms():
    rows = jax.jit(orthogonal, static_argnums=(1, 2, 3))
    g = np.asarray(rows(jax.random.key(0), 20, 8))
    for block in (g[:8], g[8:16], g[16:]):
        unit = block / np.linalg.norm(block, axis=1, keepdims=True)
        np.testing.assert_allclose(unit @ unit.T, np.eye(len(block)), atol=1e-5)
    norms = np.linalg.norm(rows(jax.random.key(1), 4000, 8), axis=1)
    reference = np.linalg.norm(gaussian(jax.random.key(2), 4000, 8), axis=1)
    np.testing.assert_allclose(norms.mean(), reference.mean(), atol=0.05)
    np.testing.assert_allclose((norms**2).var(), 16, rtol=0.15)
    fixed = np.linalg.norm(rows(jax.random.key(1), 20, 8, "fixed"), axis=1)
    np.testing.assert_allclose(fixed, np.sqrt(8), rtol=1e-5)


@pytest.mark.slow
def test_rescaling_changes_the_kernel_as_said():
    x, w = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([[1.0, 2.0]])
    exact = identity_features()
    np.testing.assert_allclose(scaled(exact).estimate({}, x, w), x @ w.T / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(scaled(exact, 3.0).estimate({}, x, w), 9 * x @ w.T, rtol=1e-6)
    found = normalized(exact, 2.0).estimate({}, x, w)
    np.testing.assert_allclose(found, [[4 * 11 / (5 * np.sqrt(5))], [0]], rtol=1e-6)
    slope = jax.grad(lambda x: normalized(exact).phi({}, x).sum())(jnp.zeros(2))
    assert jnp.isfinite(slope).all()


def test_large_inputs_stay_finite():
    features = universal_features("cos", 8, form="asymmetric")
    draw = lambda: features.draw(jax.random.key(0), 4)
    found = jax.jit(lambda: features.estimate(draw(), 100 * jnp.ones(4), 100 * jnp.ones((1, 4))))()
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: universal_features("cos", 0), "count must be at least 1"),
        (lambda: universal_features("gelu", 4), "no spectrum is called 'gelu'"),
        (lambda: universal_features("cos", 4, form="odd"), "form must be"),
        (lambda: universal_features("cos", 4, knob=-0.25), "knob must be above -1/4"),
        (lambda: orthogonal(jax.random.key(0), 2, 2, "unit"), "norms must be"),
        (lambda: power_series_features("relu", 4), "no series of 'relu'"),
        (lambda: power_series_features("gelu", 4, decay=0.0), "decay must be in"),
        (lambda: power_series_features("gelu", 4, degree=-1), "degree must be at least 0"),
        (lambda: identity_features().psi({}, jnp.ones((1, 2)), jnp.ones(1)), "take no bias"),
    ],
)
def test_wrong_requests_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
