"""Facts known about the published datasets, where they are on this machine."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxlearn.data import load
from jaxlearn.data.cifar10 import SHARDS, decode_jpeg
from jaxlearn.data.graphs import edges
from jaxlearn.data.npz import read_npz
from jaxlearn.data.source import local
from jaxlearn.data.splits import kfold_split


def check_parts(dataset, shape, train, validation, test):
    """Sizes, types, ranges, and that the parts do not overlap."""
    for key, size in (("train", train), ("validation", validation), ("test", test)):
        part = getattr(dataset, key)
        assert part["inputs"].shape == (size, *shape)
        assert part["inputs"].dtype == np.float32
        assert part["labels"].dtype == np.int32
        assert part["index"].tolist() == list(range(size))
        assert len(np.unique(dataset.positions[key])) == size
    assert not np.intersect1d(dataset.positions["train"], dataset.positions["validation"]).size
    assert len(dataset.classes) == 10


def test_digits_are_complete_and_stratified():
    from sklearn.datasets import load_digits

    dataset = load("digits")
    check_parts(dataset, (8, 8, 1), 1294, 143, 360)
    parts = (dataset.train, dataset.validation, dataset.test)
    images = np.concatenate([part["inputs"] for part in parts]).reshape(-1, 64) * 16
    labels = np.concatenate([part["labels"] for part in parts])
    ours = sorted((int(y), *x.tolist()) for x, y in zip(images, labels, strict=True))
    x, y = load_digits(return_X_y=True)
    assert ours == sorted((int(b), *a.tolist()) for a, b in zip(x, y, strict=True))
    share = np.bincount(dataset.test["labels"]) / np.bincount(labels)
    assert np.abs(share - 360 / 1797).max() < 0.01


def test_digits_test_part_does_not_depend_on_the_seed():
    one, other = load("digits", seed=1), load("digits", seed=2)
    assert np.array_equal(one.test["inputs"], other.test["inputs"])
    assert not np.array_equal(one.positions["validation"], other.positions["validation"])


def test_fashion_mnist(real):
    dataset = real("fashion_mnist", train=2000, validation=1000)
    check_parts(dataset, (28, 28, 1), 2000, 1000, 10_000)
    assert np.bincount(dataset.test["labels"]).tolist() == [1000] * 10
    assert np.bincount(dataset.train["labels"]).tolist() == [200] * 10
    assert 0.28 < dataset.train["inputs"].mean() < 0.29  # published mean 0.2860


def test_mnist(real):
    dataset = real("mnist", train=2000, validation=1000, as_float=False)
    assert dataset.test["inputs"].shape == (10_000, 28, 28, 1)
    assert dataset.test["inputs"].dtype == np.uint8
    first = np.argsort(dataset.positions["test"])[:5]
    assert dataset.test["labels"][first].tolist() == [7, 2, 1, 0, 4]


def test_cifar10_jpg(real):
    dataset = real("cifar10", variant="jpg", train=1000, validation=500, test=200)
    check_parts(dataset, (32, 32, 3), 1000, 500, 200)
    for part in (dataset.train, dataset.validation, dataset.test):
        assert len(set(np.bincount(part["labels"]).tolist())) == 1
    assert dataset.source.startswith("jpg")
    assert 0.4 < dataset.train["inputs"].mean() < 0.55


def test_cifar10_shards_are_balanced_in_every_prefix_and_decode_as_pillow_says(offline):
    if (path := local(SHARDS[2])) is None:
        pytest.skip("cifar10-jpg/test.npz is not on this machine")
    arrays = read_npz(path, ["jpeg", "offset", "label"])
    assert arrays["label"].tolist() == [i % 10 for i in range(10_000)]
    start, end = arrays["offset"][7:9]
    data = arrays["jpeg"][start:end].tobytes()
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode_jpeg(data, "image 7"), expected)


def test_cora_ml(real):
    graph = real("cora_ml")
    assert graph.features.shape == (2995, 2879)
    assert len(graph.indices) == 16_316
    assert (graph.features > 0).sum() == 151_171
    assert len(graph.classes) == 7
    binary = real("cora_ml", binary=True, row_normalize=True)
    assert np.allclose(binary.features.sum(1), 1, atol=1e-5)


def test_cora_ml_augmented_with_virtual_nodes_has_3002_nodes_and_3832_more_edges(real):
    graph = real("cora_ml")
    train = kfold_split(len(graph.labels), 0).train
    assert len(graph.labels) + len(graph.classes) == 3002
    assert 2 * len(train) == 3832


def test_amazon_photo(real):
    graph = real("amazon_photo")
    assert graph.features.shape == (7650, 745)
    assert len(graph.indices) == 2 * 119_081
    assert np.unique(graph.labels).tolist() == list(range(8))


@pytest.mark.parametrize(
    "name, shape, directed, split",
    [
        ("cora", (2708, 1433), 10_556, [140, 500, 1000]),
        # 9,228 arcs, of which 124 are self loops
        ("citeseer", (3327, 3703), 9_228 - 124, [120, 500, 1000]),
    ],
)
def test_planetoid(real, name, shape, directed, split):
    graph = real(name, layout="planetoid")
    assert graph.features.shape == shape
    assert len(graph.indices) == directed
    assert [len(ids) for ids in graph.split] == split
    sources, targets = edges(graph)
    there = set(zip(sources.tolist(), targets.tolist(), strict=True))
    assert all((b, a) in there and a != b for a, b in there)
    per_class = np.bincount(graph.labels[graph.split.train])
    assert per_class.tolist() == [20] * len(graph.classes)


def test_citeseer_nodes_without_data_are_in_no_part(real):
    graph = real("citeseer", layout="planetoid")
    empty = np.flatnonzero(graph.features.sum(1) == 0)
    assert len(empty) == 15
    assert not np.intersect1d(empty, np.concatenate(graph.split)).size


def test_pubmed(real):
    graph = real("pubmed")
    assert graph.features.shape == (19_717, 500)
    assert len(graph.indices) == 88_651 - 3  # three self loops


def test_spoken_digits_are_standardised_by_the_training_part(real):
    dataset, raw = real("spoken_digits"), real("spoken_digits", standardize=False)
    check_parts(dataset, (80, 40), len(dataset.train["labels"]), 120, 300)
    assert len(dataset.train["labels"]) + 120 == 1200
    assert np.bincount(dataset.test["labels"]).tolist() == [30] * 10
    mean = raw.train["inputs"].mean((0, 1), dtype=np.float64)
    std = raw.train["inputs"].std((0, 1), dtype=np.float64)
    for ours, plain in ((dataset.train, raw.train), (dataset.test, raw.test)):
        assert np.allclose(ours["inputs"], (plain["inputs"] - mean) / std, atol=1e-4)
