"""Signals as spikes at the crossings of thresholds: what event cameras do to brightness."""

import numpy as np


def delta_spikes(x: np.ndarray, threshold: float) -> np.ndarray:
    """Spike counts float32 [N, T, 2 bands] of signals [N, T, bands]: risings, then fallings.

    A reference follows each band, from the first frame on. At frame t it moves by as many whole
    thresholds as lie between it and the signal, `k = trunc((x[t] - r) / threshold)`, with a spike
    for each: k of the rising channel or -k of the falling one. So the signal is never a threshold
    away from `x[0] + threshold * (risings - fallings so far)`.

    Raises:
        ValueError: for other ranks, or a threshold that is not above 0.

    Example:
        >>> delta_spikes(np.array([[[0.0], [2.5], [1.9], [0.9]]]), 1.0)[0].tolist()
        [[0.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    """
    if x.ndim != 3 or not threshold > 0:
        raise ValueError(
            f"expected signals [N, T, bands] and a threshold above 0, found {x.shape} and "
            f"{threshold}"
        )
    count, frames, bands = x.shape
    spikes = np.zeros((count, frames, 2 * bands), np.float32)
    reference = x[:, 0].astype(np.float64) if frames else np.zeros((count, bands))
    for t in range(frames):
        crossed = np.trunc((x[:, t] - reference) / threshold)
        reference += threshold * crossed
        spikes[:, t] = np.concatenate([np.maximum(crossed, 0), np.maximum(-crossed, 0)], -1)
    return spikes
