"""Threshold crossings against a loop over single numbers, and against what they stand for."""

import numpy as np
import pytest

from jaxlearn.data.delta_spikes import delta_spikes


def test_spikes_are_those_of_a_loop_over_single_bands():
    x = np.random.default_rng(0).normal(size=(3, 15, 4)).cumsum(1)
    found = delta_spikes(x, 0.7)
    for n, band in np.ndindex(3, 4):
        reference = x[n, 0, band]
        for t in range(15):
            rises = falls = 0
            while x[n, t, band] - reference >= 0.7:
                reference, rises = reference + 0.7, rises + 1
            while reference - x[n, t, band] >= 0.7:
                reference, falls = reference - 0.7, falls + 1
            assert found[n, t, [band, 4 + band]].tolist() == [rises, falls]
    assert found.max() > 1


@pytest.mark.parametrize("threshold", [0.1, 1.0])
def test_the_signal_is_never_a_threshold_away_from_what_spikes_say(threshold):
    x = np.random.default_rng(1).normal(size=(5, 40, 6))
    spikes = delta_spikes(x, threshold)
    rises, falls = spikes[..., :6], spikes[..., 6:]
    assert (spikes >= 0).all()
    assert not (rises * falls).any()
    heard = x[:, :1] + threshold * (rises - falls).cumsum(1)
    assert np.abs(heard - x).max() < threshold * (1 + 1e-6)
    assert not delta_spikes(np.ones((1, 5, 2)), threshold).any()


@pytest.mark.parametrize("shape, threshold", [((4, 5), 1.0), ((1, 4, 5), 0.0), ((1, 4, 5), np.nan)])
def test_bad_input_is_named(shape, threshold):
    with pytest.raises(ValueError, match="expected signals"):
        delta_spikes(np.zeros(shape), threshold)
