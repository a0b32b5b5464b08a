"""The simulated systems against plain numpy, and what makes them worth computing with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlearn.models.physical.acoustic import AcousticTwin, acoustic, unit_amplitude
from jaxlearn.models.physical.layer import as_model, physical_layer
from jaxlearn.models.physical.microwave import metasurface, two_bits
from jaxlearn.models.physical.optics import average_pool, on_modulator, speckle, transmission
from tests.compiled import compiled
from tests.drawn import drawn, variables

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 20)).astype(np.float32)


def test_identity_7_twenty_numbers_are_forty_bits_with_min_00_and_max_11():
    binary = jax.jit(two_bits)
    bits = np.asarray(binary(X))
    assert bits.shape == (5, 40)
    assert set(np.unique(bits)) == {0.0, 1.0}
    pairs = bits.reshape(5, 20, 2)
    for row, found in zip(X, pairs, strict=True):
        assert found[row.argmin()].tolist() == [0, 0]
        assert found[row.argmax()].tolist() == [1, 1]
        step = (row.max() - row.min()) / 4
        for value, bit in zip(row, found, strict=True):
            if value <= row.min():
                want = [0, 0]
            elif value <= row.min() + step:
                want = [0, 1]
            else:
                want = [1, 0] if value <= row.max() - step else [1, 1]
            assert bit.tolist() == want
    np.testing.assert_array_equal(binary(3 * X - 2), bits)
    assert not np.any(binary(np.ones((1, 4), np.float32)))


@pytest.mark.slow
def test_the_surface_scatters_as_the_sum_over_all_bounces():
    surface = metasurface(KEY, 40, 6, coupling=0.3)
    found = np.asarray(surface(jnp.asarray(X)))
    gaussian = lambda key, shape: (lambda g: (g[0] + 1j * g[1]) / 2**0.5)(
        np.asarray(jax.random.normal(key, (2, *shape)), np.float64)
    )
    room = jax.random.split(KEY, 4)
    C, R = gaussian(room[0], (40, 40)) / 40**0.5, gaussian(room[1], (40, 6)) / 40**0.5
    b, t = gaussian(room[2], (40,)), 0.5 * gaussian(room[3], (6,))
    for bits, seen in zip(np.asarray(two_bits(jnp.asarray(X))), found, strict=True):
        s = 1 - 2 * bits
        waves = total = b
        for _ in range(60):
            waves = 0.3 * C @ (s * waves)
            total = total + waves
        want = np.abs(t + (total * s) @ R) ** 2 / 1.25
        np.testing.assert_allclose(seen, want, rtol=1e-3, atol=1e-5)


def test_fields_are_linear_in_the_bits_only_without_coupling():
    """Turn two elements over, one after the other and together: |e|^2 of a linear field is
    quadratic, so its third difference vanishes."""
    base = np.zeros(20, np.float32)
    base[0], base[1:4] = 4, 1.5  # level 2: bits 10; moved to 0.5 it becomes 01
    corners = []
    for flips in np.ndindex(2, 2, 2):
        row = base.copy()
        row[1:4] = np.where(flips, 0.5, 1.5)
        corners.append(row)
    rows, sign = jnp.asarray(np.stack(corners)), np.array([-1, 1, 1, -1, 1, -1, -1, 1])
    third = lambda coupling: np.abs(
        sign @ np.asarray(jax.jit(lambda: metasurface(KEY, 40, 6, coupling=coupling)(rows))())
    )
    assert third(0.0).max() < 1e-4
    assert third(0.6).max() > 1e-2


def test_wrong_surfaces_are_refused():
    with pytest.raises(ValueError, match="coupling=1"):
        metasurface(KEY, 40, 6, coupling=1.0)
    with pytest.raises(ValueError, match="20 numbers set 40 of 30"):
        metasurface(KEY, 30, 6)(jnp.asarray(X))


def test_speckle_is_the_modulus_of_a_complex_product_and_no_linear_map():
    see = jax.jit(speckle(KEY, 2000))
    x = X[:2]
    seen = np.asarray(see(np.concatenate([x, -x, x[:1] + x[1:]])))
    np.testing.assert_allclose(seen[:2], seen[2:4], rtol=1e-5)
    assert np.abs(seen[4] - seen[0] - seen[1]).mean() > 0.1
    np.testing.assert_allclose((seen[:2] ** 2).mean(1), (X[:2] ** 2).mean(1), rtol=0.1)


def test_transmission_mixes_low_frequencies_and_nothing_else():
    size, modes = 9, 5
    cavity = jax.jit(transmission(KEY, size, modes=modes))
    images = RNG.normal(size=(2, 9, 9))
    found = np.asarray(cavity(jnp.asarray(images)))
    assert found.shape == (2, 5, 5)
    real, imaginary = np.asarray(jax.random.normal(KEY, (2, 25, 25)), np.float64)
    T = (real + 1j * imaginary) / 50**0.5
    for image, seen in zip(images, found, strict=True):
        spectrum = np.fft.fftshift(np.fft.fft2(image))
        mixed = np.zeros((9, 9), complex)
        mixed[2:7, 2:7] = (spectrum[2:7, 2:7].reshape(-1) @ T).reshape(5, 5)
        wide = np.pad(np.abs(np.fft.ifft2(np.fft.ifftshift(mixed))), 1)
        want = [
            [wide[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].mean() for j in range(5)] for i in range(5)
        ]
        np.testing.assert_allclose(seen, want, rtol=1e-4, atol=1e-6)
    assert average_pool(jnp.ones((1, 51, 51))).shape == (1, 26, 26)
    with pytest.raises(ValueError, match="modes=10"):
        transmission(KEY, 9, modes=10)


@pytest.mark.parametrize("shape", [(1, 48, 28), (1, 676), (1, 60, 20)])
def test_the_modulator_takes_images_and_rows(shape):
    shown = on_modulator(jnp.ones(shape), 51)
    assert shown.shape == (1, 51, 51)
    assert shown.mean() > 0.9
    with pytest.raises(ValueError, match="no square images"):
        on_modulator(jnp.ones((1, 7)), 51)


def test_the_acoustic_input_has_length_one_and_no_sign():
    played = np.asarray(jax.jit(unit_amplitude)(X))
    np.testing.assert_allclose(played, np.abs(X) / np.linalg.norm(X, axis=1)[:, None], rtol=1e-5)
    slope = jax.jit(jax.grad(lambda h: unit_amplitude(h).sum()))(np.zeros((1, 3), np.float32))
    assert np.isfinite(slope).all()
    params = drawn(jax.eval_shape(AcousticTwin().init, KEY, X)["params"])
    play = jax.jit(acoustic(params))
    shapes = [params[f"linear_{i}"]["kernel"].shape for i in range(3)] + [
        params["out"]["kernel"].shape
    ]
    assert shapes == [(20, 100), (100, 200), (200, 100), (100, 20)]
    np.testing.assert_allclose(play(-2 * X), play(X), rtol=1e-3, atol=1e-5)


def test_a_layer_concatenates_physics_and_input():
    layer = physical_layer(lambda h: 2 * h, 3)
    v = layer.measure(jnp.asarray(X))
    np.testing.assert_allclose(v, np.concatenate([2 * X, X], 1))
    np.testing.assert_allclose(physical_layer(lambda h: 2 * h, 3, skip=False).measure(X), 2 * X)
    np.testing.assert_allclose(physical_layer(None, 3).measure(X), X)
    model = compiled(as_model(layer))
    params, state = variables(model, X)
    dense = params["linear"]
    assert dense["kernel"].shape == (40, 3)
    want = np.asarray(v) @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"])
    np.testing.assert_allclose(model.apply(params, state, X)[0], want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="width=0"):
        physical_layer(None, 0)
