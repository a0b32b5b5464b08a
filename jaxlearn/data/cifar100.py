"""CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images, [N, 32, 32, 3], 100 classes."""

from collections.abc import Callable

import numpy as np

from jaxlearn.data.archive import read_tar
from jaxlearn.data.dataset import Dataset, assemble, unit_floats
from jaxlearn.data.errors import CorruptData, parsing
from jaxlearn.data.source import DataFile, find, local

MEAN = (129.3 / 255, 124.1 / 255, 112.4 / 255)
"""Mean of each channel of the training images scaled to [0, 1]."""
STD = (68.2 / 255, 65.4 / 255, 70.4 / 255)
"""Standard deviation of each channel, likewise."""

_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
_MEMBERS = ("train.bin", "test.bin", "fine_label_names.txt")
ARCHIVE = DataFile(
    paths=("cifar100/cifar-100-binary.tar.gz", "cifar-100-binary.tar.gz"),
    homepage=_HOME,
    urls=("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)
UNPACKED = tuple(
    DataFile((f"cifar-100-binary/{m}", f"cifar100/{m}"), homepage=_HOME) for m in _MEMBERS
)
RECORD = 2 + 3 * 32 * 32
Pair = tuple[np.ndarray, np.ndarray]


def cifar100(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    as_float: bool = True,
) -> Dataset:
    """The images with their fine labels; float32 in [0, 1], or bytes with `as_float=False`."""
    contents = _contents()
    names = tuple(contents["fine_label_names.txt"].decode("ascii", "replace").split())
    if len(names) != 100:
        raise CorruptData(f"fine_label_names.txt has {len(names)} names, not 100")
    finish: Callable[[np.ndarray], np.ndarray] = unit_floats if as_float else np.asarray
    return assemble(
        "cifar100",
        "official lossless images, fine labels",
        names,
        parse_records(contents["train.bin"], "train.bin", 50_000),
        parse_records(contents["test.bin"], "test.bin", 10_000),
        train=train,
        validation=validation,
        test=test,
        seed=seed,
        finish=finish,
    )


def parse_records(data: bytes, name: str, count: int | None = None) -> Pair:
    """Images uint8 [N, 32, 32, 3] and fine labels: records of two label bytes and 3 x 32 x 32.

    Raises `CorruptData` unless there are `count` (if given) whole records with labels 0 to 99.
    """
    n, rest = divmod(len(data), RECORD)
    if rest or n == 0 or (count is not None and n != count):
        expected = "whole records" if count is None else f"{count} records"
        raise CorruptData(f"{name} has {len(data)} bytes, not {expected} of {RECORD} bytes each")
    records = np.frombuffer(data, np.uint8).reshape(n, RECORD)
    if (highest := int(records[:, 1].max())) > 99:
        raise CorruptData(f"{name} has the label {highest}; labels are 0 to 99")
    images = records[:, 2:].reshape(n, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 1].copy()


def _contents() -> dict[str, bytes]:
    unpacked = [path for file in UNPACKED if (path := local(file)) is not None]
    if len(unpacked) == len(UNPACKED):
        contents = {}
        for member, path in zip(_MEMBERS, unpacked, strict=True):
            with parsing(member):
                contents[member] = path.read_bytes()
        return contents
    found = read_tar(find(ARCHIVE), lambda name: name.split("/")[-1] in _MEMBERS)
    contents = {name.split("/")[-1]: data for name, data in found.items()}
    if missing := [member for member in _MEMBERS if member not in contents]:
        raise CorruptData(f"{ARCHIVE.paths[0]} has no {missing[0]}; replace the file")
    return contents
