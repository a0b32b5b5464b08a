"""Google's Speech Commands (Warden, 2018, arXiv 1804.03209): one-second words, as mel frames."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxlearn.data.archive import read_tar
from jaxlearn.data.dataset import Dataset, part
from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.mel import log_mel
from jaxlearn.data.resample import halved
from jaxlearn.data.source import DataFile, local, missing_line
from jaxlearn.data.splits import stratified_order
from jaxlearn.data.spoken_digits import parse_wav
from jaxlearn.data.standardized import standardized

RATE = 16000
HOMEPAGE = "https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
FOLDER = DataFile(
    paths=(
        "speech_commands_v0.02",
        "speech_commands",
        "SpeechCommands/speech_commands_v0.02",
    ),
    homepage=HOMEPAGE,
)
SUBSET = DataFile(paths=("speech-commands-360/wav.tar.xz",), homepage=HOMEPAGE)
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_NOISE = "_background_noise_"
_SPEAKER = re.compile(r"(?:[a-z]+_)?([0-9a-f]{8})_nohash_\d+\.wav(?:\.wav)?")

Clips = list[tuple[str, str, np.ndarray]]
"""(part, word, frames) of every clip, in the order of their names."""


def speech_commands(
    *,
    frames: int = 100,
    mels: int = 40,
    low: float = 0.0,
    decibels: bool = False,
    standardize: bool = True,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
) -> Dataset:
    """Log-mel frames float32 [N, frames, mels] of words of a second, brought to 8 kHz.

    Windows of 256 samples every 80, which are 10 ms, in bands from `low` Hz on, as natural
    logarithms or decibels (see `mel.log_mel`). The folder as it is published comes first: a folder
    of WAV files per word, 35 of them, with validation and test as `validation_list.txt` and
    `testing_list.txt` say. Without it, `speech-commands-360/wav.tar.xz` is read: 360 clips of the
    published test set in its 12 classes; every third of the speakers, in the order of their names,
    is test there, the others are training, and there is no validation.

    `train`, `validation` and `test` cut the parts to prefixes with the classes in proportion;
    `standardize` is by the mean and the standard deviation of each band over the training part.

    Raises:
        ValueError: when more clips are asked for than there are, or sizes are below 1.
        MissingData: without either.
        CorruptData: for lists that name no file, names without a speaker, and other sounds.
    """
    if frames < 1 or mels < 1:
        raise ValueError(f"frames={frames}, mels={mels}; both have to be at least 1")
    form = {"frames": frames, "mels": mels, "low": low, "decibels": decibels}
    folder, subset = local(FOLDER), local(SUBSET)
    if folder is not None:
        clips, source = _published(folder, form), "the published folder"
    elif subset is not None:
        clips, source = _subset(subset, form), "clips of the test set"
    else:
        raise MissingData(missing_line(FOLDER))
    classes = tuple(sorted({word for _, word, _ in clips}))
    sizes = {"train": train, "validation": validation, "test": test}
    parts, positions = {}, {}
    for name, size in sizes.items():
        own = [(word, x) for which, word, x in clips if which == name]
        labels = np.array([classes.index(word) for word, _ in own], np.int32)
        order = stratified_order(labels)
        if size is not None and not 0 <= size <= len(order):
            raise ValueError(f"{name}={size} clips asked for, {len(order)} are there")
        positions[name] = order[:size]
        stacked = np.array([x for _, x in own], np.float32).reshape(-1, frames, mels)
        parts[name] = part(stacked[positions[name]], labels[positions[name]])
    if not len(parts["train"]["labels"]):
        raise CorruptData(f"no clip of {source} is left to train on")
    said = f"{source}: {len(clips)} WAV files, {frames} frames of {mels} mels"
    dataset = Dataset(
        name="speech_commands", classes=classes, source=said, positions=positions, **parts
    )
    return standardized(dataset) if standardize else dataset


def _published(folder: Path, form: dict[str, Any]) -> Clips:
    names = sorted(
        f"{path.parent.name}/{path.name}"
        for path in folder.glob("*/*.wav")
        if path.parent.name != _NOISE
    )
    part_of = dict.fromkeys(names, "train")
    for which, listing in LISTS.items():
        if not (folder / listing).exists():
            raise MissingData(f"{folder.name} has no {listing}; get it from {HOMEPAGE}")
        for name in (folder / listing).read_text(encoding="utf-8").split():
            if name not in part_of:
                raise CorruptData(f"{listing} names {name}, which is not in {folder.name}")
            part_of[name] = which
    if not names:
        raise CorruptData(f"{folder.name} has no folders of WAV files")

    def read() -> Iterable[tuple[str, bytes]]:
        for name in names:
            with parsing(name):
                yield name, (folder / name).read_bytes()

    return [(part_of[name], name.split("/")[0], x) for name, x in _frames(read(), form)]


def _subset(archive: Path, form: dict[str, Any]) -> Clips:
    files = read_tar(archive, lambda name: name.endswith(".wav"))
    names = {name: _word_and_speaker(name) for name in sorted(files)}
    speakers = sorted({speaker for _, speaker in names.values()})
    held = set(speakers[2::3])
    return [
        ("test" if names[name][1] in held else "train", names[name][0], x)
        for name, x in _frames(((name, files[name]) for name in names), form)
    ]


def _word_and_speaker(name: str) -> tuple[str, str]:
    """`yes/0a1b2c3d_nohash_0.wav` to word and speaker; a piece of silence is its own speaker."""
    word, _, file = name.removeprefix("./").rpartition("/")
    match = _SPEAKER.fullmatch(file)
    if not word or (match is None and word != "_silence_"):
        raise CorruptData(f"{name!r} is not called WORD/SPEAKER_nohash_TAKE.wav")
    return word.rpartition("/")[2], match[1] if match else file


def _frames(
    files: Iterable[tuple[str, bytes]], form: dict[str, Any]
) -> Iterable[tuple[str, np.ndarray]]:
    """Clips one at a time, padded or cut to a second: the waves of all would be large."""
    for name, data in files:
        wave = np.zeros(RATE)
        samples = parse_wav(data, name, RATE)[:RATE]
        wave[: len(samples)] = samples
        windows = {"n_fft": 256, "hop": 80, "rate": RATE // 2}
        yield name, log_mel(halved(wave)[None], **windows, **form)[0]
