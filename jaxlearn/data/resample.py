"""Waves at another rate."""

import numpy as np


def halved(wave: np.ndarray) -> np.ndarray:
    """Every second sample of a wave [..., 2 n] without what half the rate cannot hold: [..., n].

    The Fourier transform is cut at half of its band, so a tone below that comes through unchanged
    and one above it vanishes (a periodic wave is assumed).

    >>> t = np.arange(64)
    >>> np.allclose(halved(np.cos(np.pi / 8 * t)), np.cos(np.pi / 4 * t[:32]))
    True
    """
    samples = wave.shape[-1]
    if samples % 2 or not samples:
        raise ValueError(f"a wave to halve needs an even number of samples, found {samples}")
    spectrum = np.fft.rfft(wave)[..., : samples // 4 + 1]
    return np.fft.irfft(spectrum, samples // 2) / 2
