"""Log-mel frames against their definition and against tones whose spectrum is known."""

import numpy as np
import pytest

from jaxlearn.data.mel import log_mel, mel_bank


def test_filters_are_triangles_with_peaks_at_mel_spaced_frequencies():
    bank = mel_bank(10, 8192, 8000, 0.0, 4000.0)
    frequency = np.linspace(0, 4000, 4097)
    mel = 2595 * np.log10(1 + frequency / 700)
    peaks = mel[bank.argmax(0)]
    assert np.allclose(np.diff(peaks), mel[-1] / 11, rtol=0.02)
    assert (bank >= 0).all()
    assert bank.max() <= 1
    inside = (mel > peaks[0]) & (mel < peaks[-1])
    assert np.allclose(bank[inside].sum(1), 1)  # neighbours share every frequency


def test_frames_equal_the_definition_by_sums():
    wave = np.random.default_rng(0).normal(size=(1, 100))
    n, hop = 16, 8
    ours = log_mel(wave, frames=3, mels=4, n_fft=n, hop=hop, rate=8000)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    bank = mel_bank(4, n, 8000, 0.0, 4000.0)
    for t in range(3):
        x = wave[0, t * hop : t * hop + n] * window
        basis = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)
        expected = np.log(1e-6 + (np.abs(basis @ x) ** 2) @ bank)
        assert np.allclose(ours[0, t], expected, atol=1e-5)


def test_decibels_are_ten_bels_of_the_power_and_bands_can_start_higher():
    wave = np.random.default_rng(0).normal(size=(1, 256))
    form = {"frames": 2, "mels": 4, "n_fft": 256, "hop": 256, "rate": 8000}
    found = log_mel(wave, **form, low=50.0, decibels=True)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    power = np.abs(np.fft.rfft(wave[0] * window)) ** 2 @ mel_bank(4, 256, 8000, 50.0, 4000.0)
    np.testing.assert_allclose(10 ** (found[0, 0] / 10), power, rtol=1e-4)
    np.testing.assert_allclose(found[0, 1], -100)  # silence


def test_a_tone_lights_the_band_around_it():
    time = np.arange(8000) / 8000
    centres = mel_bank(40, 256, 8000, 0.0, 4000.0).argmax(0) * 8000 / 256
    for band in (15, 25, 35):
        tone = np.sin(2 * np.pi * centres[band] * time)[None]
        frames = log_mel(tone, frames=5, mels=40, n_fft=256, hop=80, rate=8000)
        assert set(frames[0].argmax(1)) == {band}


@pytest.mark.parametrize("samples", [0, 10, 256, 5000])
def test_padding_is_silence_and_the_shape_is_fixed(samples):
    ours = log_mel(np.ones((2, samples)), frames=7, mels=5, n_fft=256, hop=80, rate=8000)
    assert ours.shape == (2, 7, 5)
    assert ours.dtype == np.float32
    silent = [t for t in range(7) if t * 80 >= samples]
    assert np.allclose(ours[:, silent], np.log(1e-6))


def test_bands_outside_the_spectrum_are_refused():
    with pytest.raises(ValueError, match="within 0 to 4000"):
        mel_bank(3, 256, 8000, 0.0, 5000.0)
    with pytest.raises(ValueError, match="mels=0"):
        mel_bank(0, 256, 8000, 0.0, 4000.0)
