"""The Free Spoken Digit Dataset (Jackson et al.): ten digits by six speakers, as mel frames."""

import io
import re
import wave

import numpy as np

from jaxlearn.data.archive import read_tar
from jaxlearn.data.dataset import Dataset, assemble
from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.mel import log_mel
from jaxlearn.data.source import DataFile, find, local
from jaxlearn.data.standardized import standardized

RATE = 8000
RECORDINGS = DataFile(
    paths=("fsdd-1500/recordings.tar.xz", "fsdd/recordings.tar.xz"),
    homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
)
FOLDER = DataFile(
    paths=("free-spoken-digit-dataset/recordings", "fsdd/recordings"), homepage=RECORDINGS.homepage
)
_NAME = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")


def spoken_digits(
    *,
    frames: int = 80,
    mels: int = 40,
    standardize: bool = True,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Log-mel frames float32 [N, frames, mels], recordings cut or padded to `frames` x 10 ms.

    Windows of 256 samples every 80 (see `mel.log_mel`). Test are the takes 0 to 4 of each speaker
    and digit, as its authors say; validation is drawn from the others by class and `seed`.
    `standardize` subtracts the mean and divides by the standard deviation of each band over the
    training part.
    """
    if frames < 1 or mels < 1:
        raise ValueError(f"frames={frames}, mels={mels}; both have to be at least 1")
    clips = _clips()
    keys = sorted(clips)
    longest = (frames - 1) * 80 + 256
    waves = np.zeros((len(keys), longest))
    for row, key in zip(waves, keys, strict=True):
        samples = clips[key][:longest]
        row[: len(samples)] = samples
    inputs = log_mel(waves, frames=frames, mels=mels, n_fft=256, hop=80, rate=RATE)
    labels, takes = np.array([(digit, take) for digit, _, take in keys], np.int32).T
    held = takes < 5
    if held.all() or not held.any():
        raise CorruptData(f"{RECORDINGS.paths[0]}: takes 0-4 (test) or all others are missing")
    sizes = {"train": train, "validation": validation, "test": test, "seed": seed}
    pool, rest = (inputs[~held], labels[~held]), (inputs[held], labels[held])
    classes = tuple("0123456789")
    source = f"{len(keys)} WAV files, {frames} frames of {mels} mels"
    dataset = assemble("spoken_digits", source, classes, pool, rest, finish=np.asarray, **sizes)
    return standardized(dataset) if standardize else dataset


def _clips() -> dict[tuple[int, str, int], np.ndarray]:
    """(digit, speaker, take) -> samples in [-1, 1]."""
    folder = local(FOLDER)
    if folder is not None and local(RECORDINGS) is None:
        with parsing(FOLDER.paths[0]):
            files = {path.name: path.read_bytes() for path in folder.glob("*.wav")}
    else:
        files = read_tar(find(RECORDINGS), lambda name: name.endswith(".wav"))
    clips = {}
    for name, data in files.items():
        if (match := _NAME.fullmatch(name)) is None:
            raise CorruptData(f"{name!r} is not called DIGIT_SPEAKER_TAKE.wav")
        clips[int(match[1]), match[2], int(match[3])] = parse_wav(data, name)
    return clips


def parse_wav(data: bytes, name: str, rate: int = RATE) -> np.ndarray:
    """Samples of a mono 16-bit WAV at `rate` as float64 in [-1, 1); `CorruptData` for any other."""
    with parsing(name), wave.open(io.BytesIO(data)) as clip:
        form = (clip.getnchannels(), clip.getsampwidth(), clip.getframerate())
        if form != (1, 2, rate):
            raise CorruptData(f"{name}: {form} channels, bytes and Hz, not (1, 2, {rate})")
        raw = clip.readframes(clip.getnframes())
        if len(raw) != 2 * clip.getnframes() or not raw:
            raise CorruptData(f"{name} ends early: {len(raw)} of {2 * clip.getnframes()} bytes")
    return np.frombuffer(raw, "<i2") / 32768
