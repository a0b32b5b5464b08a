"""Small arrays in the form of ImageNet's."""

import numpy as np
import pytest

from jaxlearn.data import load
from jaxlearn.data.errors import CorruptData, MissingData

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (6, 224, 224, 3), np.uint8)
LABELS = np.array([0, 999, 0, 999, 0, 999])


@pytest.fixture
def folder(root):
    made = root / "imagenet"
    made.mkdir()
    for name, count in (("train", 6), ("validation", 4)):
        np.save(made / f"{name}_images.npy", IMAGES[:count])
        np.save(made / f"{name}_labels.npy", LABELS[:count])
    return made


def test_whole_parts_stay_on_disk(folder):
    data = load("imagenet")
    assert isinstance(data.train["inputs"], np.memmap)
    np.testing.assert_array_equal(data.train["inputs"], IMAGES)
    np.testing.assert_array_equal(data.test["inputs"], IMAGES[:4])
    assert data.train["labels"].tolist() == LABELS.tolist()
    assert len(data.validation["labels"]) == 0
    assert len(data.classes) == 1000


def test_chosen_sizes_have_the_classes_in_proportion(folder):
    data = load("imagenet", train=2, validation=2, test=2)
    for part in (data.train, data.validation, data.test):
        assert sorted(part["labels"].tolist()) == [0, 999]
    for name, own in (("train", data.train), ("validation", data.validation)):
        np.testing.assert_array_equal(own["inputs"], IMAGES[data.positions[name]])
    assert not np.intersect1d(data.positions["train"], data.positions["validation"]).size
    with pytest.raises(ValueError, match="test=5 images asked for, 4 are there"):
        load("imagenet", test=5)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("train_images", IMAGES[:, :100], r"shape \(6, 100, 224, 3\), not uint8"),
        ("train_labels", LABELS[:5], "not one whole number for each of 6 images"),
        ("validation_labels", LABELS[:4] + 1, "labels beyond 0 to 999"),
    ],
)
def test_other_arrays_are_refused(folder, name, content, words):
    np.save(folder / f"{name}.npy", content)
    with pytest.raises(CorruptData, match=words):
        load("imagenet")


def test_a_damaged_or_missing_file_is_named(folder):
    (folder / "train_labels.npy").write_bytes(b"no array")
    with pytest.raises(CorruptData, match=r"train_labels\.npy is damaged"):
        load("imagenet")
    (folder / "train_labels.npy").unlink()
    with pytest.raises(MissingData, match=r"train_labels\.npy is missing"):
        load("imagenet")
