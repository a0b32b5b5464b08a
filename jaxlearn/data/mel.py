"""Log-mel frames in numpy."""

import numpy as np


def mel_bank(mels: int, n_fft: int, rate: int, low: float, high: float) -> np.ndarray:
    """Triangular filters float64 [n_fft // 2 + 1, mels], evenly spaced on the HTK mel scale.

    With `m(f) = 2595 log10(1 + f / 700)` and `mels + 2` points `f_0 < ... < f_{mels+1}` evenly
    spaced in m from `low` to `high`, filter j at frequency f is
    `max(0, min((f - f_j) / (f_{j+1} - f_j), (f_{j+2} - f) / (f_{j+2} - f_{j+1})))`.

    >>> mel_bank(2, 8, 8000, 0.0, 4000.0).shape
    (5, 2)
    """
    if mels < 1 or not 0 <= low < high <= rate / 2:
        raise ValueError(f"mels={mels}, {low} to {high} Hz; at least 1, within 0 to {rate / 2} Hz")
    first, last = (2595 * np.log10(1 + edge / 700) for edge in (low, high))
    points = 700 * (10 ** (np.linspace(first, last, mels + 2) / 2595) - 1)
    frequency = np.linspace(0, rate / 2, n_fft // 2 + 1)[:, None]
    rising = (frequency - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - frequency) / (points[2:] - points[1:-1])
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(
    waves: np.ndarray,
    *,
    frames: int,
    mels: int,
    n_fft: int,
    hop: int,
    rate: int,
    low: float = 0.0,
    decibels: bool = False,
) -> np.ndarray:
    """Waves [N, samples] in [-1, 1] to float32 [N, frames, mels].

    Frame t covers the samples `t * hop ... t * hop + n_fft - 1` (zeros beyond the end, and waves
    are cut where the last frame ends), weighted by a periodic Hann window w:
    `log(1e-6 + p)` with `p = sum_f |FFT(w x_t)(f)|^2 bank(f, mel)`, or as decibels
    `10 log10(max(1e-10, p))`; the `mel_bank` goes from `low` to `rate / 2`.
    """
    length = (frames - 1) * hop + n_fft
    fitted = np.zeros((len(waves), length))
    width = min(length, waves.shape[1])
    fitted[:, :width] = waves[:, :width]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    bank = mel_bank(mels, n_fft, rate, low, rate / 2)
    pieces = np.lib.stride_tricks.sliding_window_view(fitted, n_fft, axis=1)[:, ::hop]
    result = np.empty((len(waves), frames, mels), np.float32)
    for i, piece in enumerate(pieces):  # one clip at a time: the spectra of all would be large
        power = np.abs(np.fft.rfft(piece * window)) ** 2 @ bank
        result[i] = 10 * np.log10(np.maximum(1e-10, power)) if decibels else np.log(1e-6 + power)
    return result
