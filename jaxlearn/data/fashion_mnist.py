"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747) and MNIST, which has the same files."""

from collections.abc import Callable

import numpy as np

from jaxlearn.data.dataset import Dataset, assemble, unit_floats
from jaxlearn.data.errors import CorruptData
from jaxlearn.data.idx import read_idx
from jaxlearn.data.source import DataFile, find

_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
_FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Boot",
]
_FASHION_SHA = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_MNIST_SHA = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def _files(
    folder: str, digests: tuple[str, ...], homepage: str, mirrors: tuple[str, ...]
) -> tuple[DataFile, ...]:
    """The four files; their digests are of the decompressed content, which all packers share."""
    return tuple(
        DataFile(
            paths=(f"{folder}/{stem}-ubyte.gz", f"{folder}/{stem}-ubyte"),
            homepage=homepage,
            urls=tuple(f"{mirror}/{stem}-ubyte.gz" for mirror in mirrors),
            sha256=sha,
            gunzipped=True,
            system=(f"/usr/share/datasets/{folder}/{stem}-ubyte.gz",),
        )
        for stem, sha in zip(_FILES, digests, strict=True)
    )


FASHION_FILES = _files(
    "fashion-mnist",
    _FASHION_SHA,
    "https://github.com/zalandoresearch/fashion-mnist",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    ),
)
MNIST_FILES = _files(
    "mnist",
    _MNIST_SHA,
    "https://yann.lecun.org/exdb/mnist",
    (
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        "https://ossci-datasets.s3.amazonaws.com/mnist",
    ),
)


def fashion_mnist(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    as_float: bool = True,
) -> Dataset:
    """60,000 + 10,000 images of clothes, [N, 28, 28, 1], float32 in [0, 1] or bytes."""
    sizes = {"train": train, "validation": validation, "test": test, "seed": seed}
    return _read("fashion_mnist", FASHION_FILES, tuple(_FASHION), sizes, as_float)


def mnist(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    as_float: bool = True,
) -> Dataset:
    """60,000 + 10,000 handwritten digits, [N, 28, 28, 1], float32 in [0, 1] or bytes."""
    sizes = {"train": train, "validation": validation, "test": test, "seed": seed}
    return _read("mnist", MNIST_FILES, tuple("0123456789"), sizes, as_float)


def _read(
    name: str, files: tuple[DataFile, ...], classes: tuple[str, ...], sizes: dict, as_float: bool
) -> Dataset:
    x, y, test_x, test_y = (read_idx(find(file)) for file in files)
    finish: Callable[[np.ndarray], np.ndarray] = unit_floats if as_float else np.asarray
    pool, held = _pair(x, y, files[0]), _pair(test_x, test_y, files[2])
    return assemble(name, "IDX files", classes, pool, held, finish=finish, **sizes)


def _pair(images: np.ndarray, labels: np.ndarray, file: DataFile) -> tuple[np.ndarray, np.ndarray]:
    """Images [N, 28, 28, 1] with their labels, if they belong together."""
    if images.shape != (*labels.shape, 28, 28) or images.dtype != np.uint8:
        raise CorruptData(
            f"{file.paths[0]}: images {images.shape} and labels {labels.shape} do not belong "
            "together as [N, 28, 28] and [N]"
        )
    if labels.dtype != np.uint8 or labels.max(initial=0) > 9:
        raise CorruptData(f"{file.paths[0]}: its labels are not bytes from 0 to 9")
    return images[..., None], labels
