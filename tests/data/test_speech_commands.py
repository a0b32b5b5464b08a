"""Both layouts from tones recorded here, and the 360 published clips where they are."""

import numpy as np
import pytest

from jaxlearn.data import CorruptData, MissingData, load
from tests.data.conftest import put
from tests.data.test_archive import tar
from tests.data.test_spoken_digits import wav

SMALL = {"frames": 12, "mels": 8}
SPEAKERS = [f"{number:08x}" for number in range(6)]
FOLDER = "speech_commands_v0.02"


def tone(pitch, samples=16000):
    return wav(8000 * np.sin(2 * np.pi * pitch * np.arange(samples) / 16000), rate=16000)


def published(root):
    """Two words by six speakers; the fourth is for validation, the last two are for testing."""
    names = []
    for word, pitch in (("left", 500), ("right", 2500)):
        for who in SPEAKERS:
            names.append(f"{word}/{who}_nohash_0.wav")
            put(root, f"{FOLDER}/{names[-1]}", tone(pitch, 9000))
    put(root, f"{FOLDER}/_background_noise_/hum.wav", tone(50, 64000))
    lists = {"validation_list.txt": SPEAKERS[3:4], "testing_list.txt": SPEAKERS[4:]}
    for file, held in lists.items():
        text = "".join(f"{name}\n" for name in names if name.split("/")[1][:8] in held)
        put(root, f"{FOLDER}/{file}", text.encode())


def test_the_lists_say_which_part_a_clip_is_in(root):
    published(root)
    dataset = load("speech_commands", **SMALL, standardize=False)
    sizes = [len(part["labels"]) for part in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [6, 2, 4]
    assert dataset.classes == ("left", "right")
    loudest = dataset.test["inputs"][:, 3].argmax(1)
    assert (loudest[dataset.test["labels"] == 0] < loudest[dataset.test["labels"] == 1].min()).all()
    fewer = load("speech_commands", **SMALL, train=2, test=2)
    assert sorted(fewer.train["labels"].tolist()) == [0, 1]
    with pytest.raises(ValueError, match="test=9 clips asked for, 4 are there"):
        load("speech_commands", **SMALL, test=9)


def test_frames_are_those_of_the_tone_at_8_khz(root):
    published(root)
    from jaxlearn.data.mel import log_mel

    raw = load("speech_commands", **SMALL, standardize=False)
    low = np.sin(2 * np.pi * 500 * np.arange(4500) / 8000) * 8000 / 32768
    expected = log_mel(low[None], **SMALL, n_fft=256, hop=80, rate=8000)[0]
    # bands away from the tone hold next to nothing, and its logarithm is noise
    found = raw.train["inputs"][raw.train["labels"] == 0][0]
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=0.05)
    x = load("speech_commands", **SMALL).train["inputs"]
    np.testing.assert_allclose(x.mean((0, 1)), 0, atol=1e-4)


def test_frames_can_be_decibels_of_higher_bands(root):
    published(root)
    raw = load("speech_commands", **SMALL, standardize=False)
    found = load("speech_commands", **SMALL, standardize=False, decibels=True).train["inputs"]
    loud = raw.train["inputs"] > 0  # far above the floor of both
    expected = raw.train["inputs"][loud] * 10 / np.log(10)
    np.testing.assert_allclose(found[loud], expected, atol=1e-3)
    higher = load("speech_commands", **SMALL, standardize=False, low=1000.0).train
    left = higher["labels"] == 0  # 500 Hz: below the lowest band
    assert higher["inputs"][left].max() < raw.train["inputs"][left].max() - 5


def test_the_subset_is_divided_by_speakers(root):
    clips = {
        f"{word}/{prefix}{who}_nohash_{take}.wav": tone(pitch)
        for word, prefix, pitch in (("yes", "", 400), ("_unknown_", "bird_", 900))
        for who in SPEAKERS
        for take in range(2)
    }
    clips |= {f"_silence_/{n}.wav": tone(60) for n in range(3)}
    put(root, "speech-commands-360/wav.tar.xz", tar(clips, "w:xz"))
    dataset = load("speech_commands", **SMALL, standardize=False)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert dataset.classes == ("_silence_", "_unknown_", "yes")
    assert [len(part["labels"]) for part in parts] == [18, 0, 9]
    # each speaker has as many of both words and takes, so a part with all of some has as well
    assert np.bincount(dataset.test["labels"]).tolist() == [1, 4, 4]
    assert np.bincount(dataset.train["labels"]).tolist() == [2, 8, 8]


def test_damaged_folders_are_named(root):
    published(root)
    put(root, f"{FOLDER}/testing_list.txt", b"left/nobody_nohash_0.wav\n")
    with pytest.raises(CorruptData, match=r"testing_list\.txt names left/nobody"):
        load("speech_commands", **SMALL)
    (root / FOLDER / "testing_list.txt").unlink()
    with pytest.raises(MissingData, match=r"has no testing_list\.txt"):
        load("speech_commands", **SMALL)
    put(root, f"{FOLDER}/testing_list.txt", b"")
    put(root, f"{FOLDER}/left/{SPEAKERS[0]}_nohash_0.wav", wav(np.ones(9), rate=8000))
    with pytest.raises(CorruptData, match="8000"):
        load("speech_commands", **SMALL)


def test_misnamed_clips_missing_files_and_sizes_are_named(root):
    with pytest.raises(MissingData, match=r"speech_commands_v0\.02 is missing; get it from"):
        load("speech_commands")
    put(root, "speech-commands-360/wav.tar.xz", tar({"yes/me.wav": tone(400)}, "w:xz"))
    with pytest.raises(CorruptData, match="SPEAKER_nohash_TAKE"):
        load("speech_commands")
    with pytest.raises(ValueError, match="frames=0"):
        load("speech_commands", frames=0)


def test_the_published_clips(real):
    dataset = real("speech_commands", frames=20)
    if "test set" not in dataset.source:
        pytest.skip("the whole data set is here, not its 360 clips")
    assert len(dataset.classes) == 12
    counts = [np.bincount(part["labels"], minlength=12) for part in (dataset.train, dataset.test)]
    assert (counts[0] + counts[1]).tolist() == [30] * 12
    assert counts[1].min() >= 5
