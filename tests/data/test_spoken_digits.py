"""Spoken digits from tones recorded here."""

import io
import wave

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData, load
from jaxlearn.data.spoken_digits import parse_wav
from tests.data.conftest import put
from tests.data.test_archive import tar


def wav(samples, channels=1, width=2, rate=8000):
    stream = io.BytesIO()
    with wave.open(stream, "wb") as clip:
        clip.setnchannels(channels)
        clip.setsampwidth(width)
        clip.setframerate(rate)
        clip.writeframes(samples.astype(f"<i{width}").tobytes())
    return stream.getvalue()


def recordings(takes=range(3, 9)):
    """Two digits, two speakers; the digit is the pitch."""
    t = np.arange(2000) / 8000
    tones = {d: wav(8000 * np.sin(2 * np.pi * (500 + 1500 * d) * t)) for d in (0, 1)}
    return {
        f"recordings/{d}_{who}_{take}.wav": tones[d]
        for d in (0, 1)
        for who in ("ann", "bob")
        for take in takes
    }


@pytest.mark.parametrize("packed", [True, False])
def test_takes_0_to_4_are_the_test_part(root, packed):
    if packed:
        put(root, "fsdd-1500/recordings.tar.xz", tar(recordings(), "w:xz"))
    else:
        for name, data in recordings().items():
            put(root, f"free-spoken-digit-dataset/{name}", data)
    dataset = load("spoken_digits", frames=20, mels=16, validation=4, standardize=False)
    sizes = [len(part["labels"]) for part in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [12, 4, 8]
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part["inputs"].shape[1:] == (20, 16)
        loudest = part["inputs"][:, 5].argmax(1)
        assert len(set(loudest[part["labels"] == 0])) == 1
        assert (loudest[part["labels"] == 1] > loudest[part["labels"] == 0].max()).all()


def test_samples_are_scaled_to_one():
    samples = np.array([0, 16384, -32768, 32767])
    assert np.allclose(parse_wav(wav(samples), "a") * 32768, samples)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF" + bytes(40),
        b"<html>",
        wav(np.zeros(4), channels=2),
        wav(np.zeros(4), width=4),
        wav(np.zeros(4), rate=16000),
        wav(np.zeros(0)),
        wav(np.ones(100))[:-50],
    ],
)
def test_other_sounds_are_refused(data):
    with pytest.raises(CorruptData, match=r"a\.wav"):
        parse_wav(data, "a.wav")


def test_misnamed_files_and_missing_takes(root):
    path = "fsdd/recordings.tar.xz"
    put(root, path, tar({"recordings/nine.wav": wav(np.ones(9))}, "w:xz"))
    with pytest.raises(CorruptData, match="DIGIT_SPEAKER_TAKE"):
        load("spoken_digits")
    for takes in (range(5), range(5, 9)):
        put(root, path, tar(recordings(takes), "w:xz"))
        with pytest.raises(CorruptData, match="takes 0-4"):
            load("spoken_digits")


def test_missing_and_impossible_sizes(root):
    with pytest.raises(MissingData, match="free-spoken-digit-dataset"):
        load("spoken_digits")
    with pytest.raises(ValueError, match="frames=0"):
        load("spoken_digits", frames=0)
