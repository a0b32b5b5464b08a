"""Half the rate: low tones stay, high ones go, and nothing folds down."""

import numpy as np
import pytest

from jaxlearn.data.resample import halved

TIME = np.arange(400) / 400


@pytest.mark.parametrize("cycles", [0, 1, 37, 99])
def test_tones_below_half_the_band_come_through(cycles):
    wave = np.cos(2 * np.pi * cycles * TIME + 0.4)
    np.testing.assert_allclose(halved(wave), wave[::2], atol=1e-12)


@pytest.mark.parametrize("cycles", [101, 150, 199])
def test_tones_above_it_vanish_instead_of_folding(cycles):
    wave = np.cos(2 * np.pi * cycles * TIME + 0.4)
    assert np.abs(wave[::2]).max() > 0.9  # what leaving samples out would make of it
    np.testing.assert_allclose(halved(wave[None]), np.zeros((1, 200)), atol=1e-12)


@pytest.mark.parametrize("samples", [0, 7])
def test_odd_waves_are_refused(samples):
    with pytest.raises(ValueError, match=f"even number of samples, found {samples}"):
        halved(np.zeros(samples))
