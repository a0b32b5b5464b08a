"""ImageNet (Russakovsky et al., 2015): 1000 classes, images cut to 224 x 224 before they come here.

They stay on disk: a batch reads its own rows, so that training needs no memory for the rest.
"""

from pathlib import Path

import numpy as np

from jaxlearn.data.dataset import Arrays, Dataset, part
from jaxlearn.data.errors import CorruptData, MissingData, parsing
from jaxlearn.data.source import DataFile, local, missing_line
from jaxlearn.data.splits import carve, stratified_order

CLASSES = tuple(f"class {number}" for number in range(1000))
MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel of the training images scaled to [0, 1], as is usual."""
STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel, likewise."""
SIDE = 224
FOLDER = DataFile(("imagenet",), "https://www.image-net.org/download.php")


def imagenet(
    *,
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Bytes [N, 224, 224, 3] with labels 0 to 999; test are the published validation images.

    The folder holds `train_images.npy`, `train_labels.npy`, `validation_images.npy` and
    `validation_labels.npy`, as `numpy.save` writes them. Whole parts are read as they are asked
    for; those of a chosen size are copied into memory, with the classes in proportion. Nothing is
    set aside for validation unless it is asked for.

    Raises:
        ValueError: when more images are asked for than there are.
        MissingData: without the folder or one of its files.
        CorruptData: when an array is not as described.
    """
    folder = local(FOLDER)
    if folder is None or not folder.is_dir():
        raise MissingData(missing_line(FOLDER))
    pool, held = (_read(folder, name) for name in ("train", "validation"))
    if train is None and not validation:
        chosen = np.arange(len(pool[1])), np.arange(0)
    else:
        cut = carve(pool[1], train=train, validation=validation or 0, seed=seed)
        chosen = cut.train, cut.validation
    if test is not None and not 0 < test <= len(held[1]):
        raise ValueError(f"test={test} images asked for, {len(held[1])} are there")
    order = np.arange(len(held[1])) if test is None else stratified_order(held[1])[:test]
    positions = dict(zip(("train", "validation", "test"), (*chosen, order), strict=True))
    parts = {
        name: _rows(held if name == "test" else pool, places) for name, places in positions.items()
    }
    source = f"{len(pool[1])} + {len(held[1])} images of {SIDE} x {SIDE} from arrays"
    return Dataset(name="imagenet", classes=CLASSES, source=source, positions=positions, **parts)


def _rows(images: tuple[np.ndarray, np.ndarray], places: np.ndarray) -> Arrays:
    whole = len(places) == len(images[1])
    return part(*images) if whole else part(images[0][places], images[1][places])


def _read(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    paths = [folder / f"{name}_{content}.npy" for content in ("images", "labels")]
    arrays = []
    for path in paths:
        if not path.is_file():
            raise MissingData(f"{path.name} is missing; {missing_line(FOLDER)}")
        with parsing(path.name):
            arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
    images, labels = arrays[0], np.asarray(arrays[1])
    if images.dtype != np.uint8 or images.shape[1:] != (SIDE, SIDE, 3):
        raise CorruptData(
            f"{paths[0].name} is {images.dtype} of shape {images.shape}, not uint8 of "
            f"[N, {SIDE}, {SIDE}, 3]"
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or not labels.size:
        raise CorruptData(
            f"{paths[1].name} is {labels.dtype} of shape {labels.shape}, not one whole number for "
            f"each of {len(images)} images"
        )
    if not 0 <= labels.min() <= labels.max() < len(CLASSES):
        raise CorruptData(f"{paths[1].name} has labels beyond 0 to {len(CLASSES) - 1}")
    return images, labels
